"""Provenance: complete, reproducible, and of the shape that in-toto and SLSA describe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tasks.bundle import bundle_digest, file_digest
from tasks.errors import StoreError
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import DiffID, Digest, digest_bytes
from tasks.oci.locked_image import LockedImage, LockedLayer, LockedPlatform
from tasks.provenance import provenance, write_provenance

if TYPE_CHECKING:
    from pathlib import Path

URN = "^urn:[a-z0-9][a-z0-9-]{0,30}[a-z0-9]:[a-z0-9:-]+$"
"""Spec: RFC 8141, section 2, without what we do not use."""
DIGEST_SET = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]+$"},
}
RESOURCE = {
    "type": "object",
    "required": ["digest"],
    "properties": {
        "name": {"type": "string"},
        "uri": {"type": "string", "pattern": r"^[a-z][a-z0-9+-]*:\S+$"},
        "digest": DIGEST_SET,
        "mediaType": {"type": "string"},
        "annotations": {"type": "object"},
    },
    "additionalProperties": False,
}
SLSA = {
    "type": "object",
    "required": ["_type", "subject", "predicateType", "predicate"],
    "additionalProperties": False,
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {"type": "array", "minItems": 1, "items": RESOURCE},
        "predicateType": {"const": "https://slsa.dev/provenance/v1"},
        "predicate": {
            "type": "object",
            "required": ["buildDefinition", "runDetails"],
            "additionalProperties": False,
            "properties": {
                "buildDefinition": {
                    "type": "object",
                    "required": ["buildType", "externalParameters"],
                    "additionalProperties": False,
                    "properties": {
                        "buildType": {"type": "string", "pattern": URN},
                        "externalParameters": {"type": "object"},
                        "internalParameters": {"type": "object"},
                        "resolvedDependencies": {"type": "array", "items": RESOURCE},
                    },
                },
                "runDetails": {
                    "type": "object",
                    "required": ["builder"],
                    "additionalProperties": False,
                    "properties": {
                        "builder": {
                            "type": "object",
                            "required": ["id"],
                            "properties": {"id": {"type": "string", "pattern": URN}},
                        },
                        "byproducts": {"type": "array", "items": RESOURCE},
                    },
                },
            },
        },
    },
}
"""The members that the two specifications know, and those they require."""


def descriptor(content: bytes) -> Descriptor:
    return Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar+gzip",
        digest=digest_bytes(content),
        size=len(content),
    )


def about(where: Path) -> dict[str, Any]:
    (where / "entries.jsonl").write_bytes(b"")
    (where / "config.json").write_bytes(b"{}")
    locked = LockedPlatform(
        manifest=descriptor(b"manifest"),
        config=descriptor(b"config"),
        layers=(
            LockedLayer(descriptor=descriptor(b"base"), diff_id=DiffID(digest_bytes(b"b"))),
            LockedLayer(
                descriptor=descriptor(b"top"), diff_id=DiffID(digest_bytes(b"t", "sha512"))
            ),
        ),
    )
    return {
        "bundle": "hello",
        "digest": bundle_digest(entries=where / "entries.jsonl", config_json=where / "config.json"),
        "platform": "linux/amd64",
        "image": LockedImage(
            reference="docker.io/library/hello-world:latest",
            index=Digest("sha256", "1" * 64),
            platforms={"linux/amd64": locked},
        ),
        "parameters": {"environment": {"B": "2", "A": "1"}},
        "steps": {"rootfs": {"key": "2" * 64, "epoch": 1}, "config": {"key": "3" * 64, "epoch": 1}},
        "entries": where / "entries.jsonl",
        "config_json": where / "config.json",
    }


def test_provenance_is_a_slsa_statement(tmp_path: Path) -> None:
    jsonschema.validate(json.loads(provenance(**about(tmp_path))), SLSA)


def test_provenance_names_everything_that_went_in_and_came_out(tmp_path: Path) -> None:
    facts = about(tmp_path)
    found = json.loads(provenance(**facts))
    text = json.dumps(found)
    for content in (b"manifest", b"config", b"base", b"top"):
        assert digest_bytes(content).encoded in text
    assert str(digest_bytes(b"t", "sha512")) in text
    assert f"sha256:{found['subject'][0]['digest']['sha256']}" == facts["digest"]
    byproducts = {
        each["name"]: each["digest"] for each in found["predicate"]["runDetails"]["byproducts"]
    }
    config = file_digest(tmp_path / "config.json")
    assert f"sha256:{byproducts['config.json']['sha256']}" == config
    steps = found["predicate"]["buildDefinition"]["internalParameters"]["steps"]
    assert steps["rootfs"] == {"key": "2" * 64, "epoch": 1}


def test_provenance_is_reproducible(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = about(tmp_path / "one"), about(tmp_path / "two")
    second["parameters"] = {"environment": {"A": "1", "B": "2"}}
    second["steps"] = dict(reversed(second["steps"].items()))
    assert provenance(**first) == provenance(**second)
    digest = write_provenance(destination=tmp_path / "p" / "hello.json", **first)
    assert digest == file_digest(tmp_path / "p" / "hello.json")
    assert str(tmp_path).encode() not in (tmp_path / "p" / "hello.json").read_bytes()


def test_provenance_of_a_bundle_that_is_not_built_is_refused(tmp_path: Path) -> None:
    facts = about(tmp_path)
    (tmp_path / "entries.jsonl").unlink()
    with pytest.raises(StoreError, match="build the bundle first"):
        provenance(**facts)
