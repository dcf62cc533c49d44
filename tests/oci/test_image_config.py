"""Image configurations and the identity of a stack of layers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tasks.errors import ContentError
from tasks.oci.digest import DiffID, parse_digest
from tasks.oci.image_config import chain_id, parse_image_config
from tests.support.images import sha256

A, B, C = (DiffID(parse_digest(sha256(name))) for name in (b"a", b"b", b"c"))


def test_chain_id_is_that_of_the_specification() -> None:
    two = "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    three = "sha256:" + hashlib.sha256(f"{two} {C}".encode()).hexdigest()
    assert [str(chain_id(stack)) for stack in ([A], [A, B], [A, B, C])] == [str(A), two, three]


def test_configuration_keeps_its_bytes_and_its_order() -> None:
    document = {
        "os": "linux",
        "architecture": "arm",
        "variant": "v6",
        "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": [str(B), str(A)]},
        "history": [{"created_by": "x"}],
    }
    raw = json.dumps(document, indent=3).encode()
    found = parse_image_config(raw, subject="x")
    assert (found.raw, found.diff_ids, str(found.platform)) == (raw, (B, A), "linux/arm/v6")
    assert (found.execution["Cmd"], found.history[0]["created_by"]) == (["x"], "x")
    assert str(found.digest) == sha256(raw)


@pytest.mark.parametrize("rootfs", [None, {}, {"diff_ids": None}, {"diff_ids": []}])
def test_image_without_layers_has_no_diff_ids(rootfs: Any) -> None:
    raw = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode()
    assert parse_image_config(raw, subject="x").diff_ids == ()


@pytest.mark.parametrize("diff_ids", ["x", [1], ["sha256:zz"], ["../../etc"], {}])
def test_wrong_diff_ids_are_refused(diff_ids: Any) -> None:
    raw = json.dumps({"os": "linux", "rootfs": {"diff_ids": diff_ids}}).encode()
    with pytest.raises(ContentError):
        parse_image_config(raw, subject="x")
