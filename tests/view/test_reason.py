"""The difference of two step keys in words: a golden table of what changes and what is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.project.reason import GONE, NEVER, changes, difference, reasons

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
SHORT = {name: name[:19] for name in (A, B, C, D)}


def config(inputs: Any = None, epoch: int = 1, platform: str = "linux/amd64", **params: Any) -> Any:
    return {
        "step": "config",
        "epoch": epoch,
        "inputs": inputs or {"image_config": A, "files": {}},
        "params": {"overrides": params, "spec": [], "unset": []},
        "platform": platform,
    }


def rootfs(*layers: str) -> Any:
    return {
        "step": "rootfs",
        "epoch": 1,
        "inputs": list(layers),
        "params": {"implied_mtime": 0},
        "platform": "linux/amd64",
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (config(), config(hostname="a"), ['hostname was added: "a"']),
        (config(hostname="a"), config(), ["hostname was taken out"]),
        (
            config(mem_limit=1000, hostname="a"),
            config(mem_limit=2000, hostname="b"),
            ['hostname changed from "a" to "b"', "mem_limit changed from 1000 to 2000"],
        ),
        (
            config(environment={"TOKEN": "old", "B": "1"}),
            config(environment={"TOKEN": "new"}),
            ["environment.B was taken out", "environment.TOKEN changed"],
        ),
        (config(), config(environment={"TOKEN": "x"}), ["environment.TOKEN was added"]),
        (
            config(cap_drop=["ALL"]),
            config(cap_drop=["CHOWN"]),
            ['cap_drop gained "CHOWN" and lost "ALL"'],
        ),
        (config(cap_add=["A", "B"]), config(cap_add=["B", "A"]), ["cap_add has another order"]),
        (
            config(),
            config({"image_config": B, "files": {}}),
            [f"the image's configuration changed from {SHORT[A]} to {SHORT[B]}"],
        ),
        (
            config({"image_config": A, "files": {"ci.env": A}}),
            config({"image_config": A, "files": {"ci.env": B}}),
            ["the file ci.env changed"],
        ),
        (
            config({"image_config": A, "files": {}, "passwd": A}),
            config({"image_config": A, "files": {}, "passwd": B}),
            [f"the rootfs's /etc/passwd changed from {SHORT[A]} to {SHORT[B]}"],
        ),
        (
            config(),
            config(platform="linux/arm64"),
            ["the platform changed from linux/amd64 to linux/arm64"],
        ),
        (config(), config(epoch=2), ["this doit-oci does the step otherwise (epoch 1 → 2)"]),
        (rootfs(A), rootfs(B), [f"its only layer changed from {SHORT[A]} to {SHORT[B]}"]),
        (rootfs(A, B), rootfs(A, C), [f"the top layer changed from {SHORT[B]} to {SHORT[C]}"]),
        (rootfs(A), rootfs(A, B, C), ["2 layers came on top of the 1 that are there"]),
        (rootfs(A, B, C), rootfs(A), ["the top 2 layers went away, 1 are left"]),
        (
            rootfs(A, B, D),
            rootfs(A, C),
            [f"from layer 2 up, 2 layers became 1: {SHORT[B]} is now {SHORT[C]}"],
        ),
        (
            {**rootfs(), "step": "bundle", "inputs": {"rootfs": "1", "config": "2"}},
            {**rootfs(), "step": "bundle", "inputs": {"rootfs": "3", "config": "4"}},
            ["its config.json changed", "its rootfs changed"],
        ),
        (
            {**rootfs(), "step": "layout", "inputs": {"linux/amd64": A}},
            {**rootfs(), "step": "layout", "inputs": {"linux/amd64": B, "linux/arm64": C}},
            [
                f"the manifest for linux/amd64 changed from {SHORT[A]} to {SHORT[B]}",
                f"the manifest for linux/arm64 was added: {SHORT[C]}",
            ],
        ),
    ],
)
def test_a_change_is_said_in_words(old: Any, new: Any, said: list[str]) -> None:
    assert list(difference(old, new)) == said


def test_digests_are_written_out_on_demand() -> None:
    (said,) = difference(rootfs(A), rootfs(B), full=True)
    assert A in said
    assert B in said


def test_a_stamp_that_is_missing_or_fits_says_what_else_is_wrong() -> None:
    assert reasons(None, "k", rootfs(A)) == (NEVER,)
    assert reasons({"key": "k", "parts": rootfs(A)}, "k", rootfs(A)) == (GONE,)


DOCUMENTS = st.recursive(
    st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(DOCUMENTS, DOCUMENTS)
def test_there_are_changes_exactly_where_documents_differ(old: Any, new: Any) -> None:
    found = list(changes(old, new))
    assert (found == []) == (old == new)
    assert len({change.path for change in found}) == len(found)
