"""Random stacks of layers against a small model of the specification, and against umoci."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from tasks.errors import LayerError
from tasks.oci.entry import Entry
from tasks.oci.media_type import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from tasks.store.layers import unpack
from tasks.store.layers.cover import Cover
from tests.support import layer_model
from tests.support.layer_stacks import stacks
from tests.support.layers import Images, tar
from tests.support.trees import scan_entries

LAST_SECOND_OF_TESTS = 1_700_000_001 * 10**9
IMPLIED = 0
SLOW = list(HealthCheck)


def built(stack: list[list[Any]], state: Path) -> tuple[Path, dict[str, Entry]] | None:
    """The rootfs of a stack, held against its own entries; None where it is refused."""
    try:
        rootfs, found = Images(state).build(*map(tar, stack))
    except LayerError:
        return None
    assert scan_entries(rootfs) == list(found.values())
    return rootfs, found


@given(stacks())
@settings(max_examples=250, deadline=None, suppress_health_check=SLOW)
def test_a_stack_is_what_the_model_says(stack: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        ours = built(stack, Path(place) / "state")
        try:
            expected = layer_model.rootfs(stack)
        except layer_model.Refused:
            assert ours is None
            return
        assert ours is not None
        compare(ours[1], expected)


@given(stacks())
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
def test_leaving_out_what_is_hidden_changes_nothing(stack: list[list[Any]]) -> None:
    """With all files written, and with files of any size held or left out, where upper layers
    seem to hide them."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        held = built(stack, Path(place) / "held")
        patch.setattr(unpack, "WORTH_LEAVING", 1)
        left_out = built(stack, Path(place) / "left out")
        patch.setattr(Cover, "hides", lambda *_: False)
        everything = built(stack, Path(place) / "all")
        entries = everything and everything[1]
        assert (held and held[1], left_out and left_out[1]) == (entries, entries)


def compare(found: dict[str, Entry], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for path, (kind, meta, data, target, _) in expected.items():
        entry = found[path]
        assert (entry.type, entry.target) == (kind, target.encode())
        assert (entry.mode, entry.uid, entry.gid, entry.mtime) == meta
        if kind == "file":
            assert entry.sha256 == hashlib.sha256(data).hexdigest()
    inodes = sorted((str(inode), path) for path, (*_, inode) in expected.items() if inode)
    groups = [[path for _, path in group] for _, group in groupby(inodes, key=lambda x: x[0])]
    for first, *others in groups:
        assert found[first].hard_link == b""
        assert {found[path].hard_link for path in others} <= {first.encode()}


def write_layout(place: Path, streams: list[bytes], packed: Sequence[bytes] = ()) -> None:
    """An image layout of layers, tagged ``1``; ``packed`` are their blobs, made here if not given."""
    folder = place / "blobs/sha256"
    folder.mkdir(parents=True)

    def put(media_type: str, content: bytes) -> dict[str, Any]:
        encoded = hashlib.sha256(content).hexdigest()
        (folder / encoded).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}

    blobs = packed or [gzip.compress(stream, 1, mtime=0) for stream in streams]
    layers = [put(OCI_LAYER_GZIP, blob) for blob in blobs]
    diff_ids = [f"sha256:{hashlib.sha256(stream).hexdigest()}" for stream in streams]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put(OCI_CONFIG, json.dumps(config).encode()),
        "layers": layers,
    }
    described = put(OCI_MANIFEST, json.dumps(manifest).encode())
    described["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


@given(stacks())
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_a_stack_is_what_umoci_makes_of_it(stack: list[list[Any]]) -> None:
    """Where umoci takes it. Its times of directories that it made or wrote into are left out:
    it sets them to now. Its whiteouts meet what lies before them in the archive, so it is given
    them first, as layer.md recommends; ours mean the lower layers wherever they stand."""
    umoci = shutil.which("umoci")
    assert umoci, "umoci is not installed"
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ours = built(stack, place / "state")
        write_layout(place / "layout", [tar(whiteouts_first(layer)) for layer in stack])
        words = [umoci, "unpack", "--image", f"{place}/layout:1", f"{place}/umoci"]
        taken = subprocess.run(words, capture_output=True, check=False).returncode == 0
        assert ours is not None or not taken, "umoci takes what we refuse"
        assume(ours is not None and taken)
        assert ours is not None
        assert not list(differences(ours[1], place / "umoci/rootfs"))


def differences(ours: dict[str, Entry], theirs: Path) -> Iterator[tuple[str, Any, Any]]:
    """What stands otherwise in umoci's tree, directories' times apart where umoci set them."""
    others = {os.fsdecode(entry.path): entry for entry in scan_entries(theirs)}
    for path in set(ours) ^ set(others):
        yield path, ours.get(path), others.get(path)
    for path in set(ours) & set(others):
        entry, other = ours[path], others[path]
        if entry.type == "dir" and entry.mtime == IMPLIED:
            # No layer describes it: umoci's has what a parent with that bit hands down.
            other = inherits_nothing(other, entry)
        if entry.type == "dir" and other.mtime > LAST_SECOND_OF_TESTS:
            other = other.replacing(mtime=entry.mtime)
        if entry != other:
            yield path, entry, other


def whiteouts_first(layer: list[Any]) -> list[Any]:
    return sorted(layer, key=lambda item: not Path(item[0].name).name.startswith(".wh."))


def inherits_nothing(theirs: Entry, ours: Entry) -> Entry:
    handed_down = theirs.mode & stat.S_ISGID
    return theirs.replacing(
        mtime=ours.mtime,
        mode=theirs.mode ^ handed_down,
        gid=ours.gid if handed_down else theirs.gid,
    )
