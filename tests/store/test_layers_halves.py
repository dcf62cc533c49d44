"""Large trees are written by two processes, and nobody can tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import LayerError, StoreError
from tasks.store.layers import assemble, halves
from tasks.store.layers.halves import Other, subtrees, weights
from tasks.store.layers.materialise import AlteredLayer
from tasks.store.layers.merge import Directory
from tests.support.layers import Images, item, tar
from tests.support.trees import scan_entries

# Newer Pythons warn of a fork in a process with threads, as pytest-xdist has.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

UNKNOWN = {"SCHILY.xattr.unheard.of": "1"}


def many() -> bytes:
    """More names than one process writes, in directories of their own modes."""
    entries: list[Any] = []
    for number in range(80):
        place = f"d{number % 9}/e{number}/"
        entries.append(item(place, mode=0o500 + number % 8, mtime=number, pax=UNKNOWN))
        entries += [item(f"{place}f{each}", f"{number}", mode=0o400) for each in range(60)]
        entries.append(item(f"l{number}", type="link", link=f"{place}f1"))
    return tar(entries)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The subtrees that went to the other process."""
    found: list[bytes] = []

    def watched(root: Directory, share: float) -> list[tuple[bytes, Directory]]:
        chosen = subtrees(root, share)
        found.extend(path for path, _ in chosen)
        return chosen

    monkeypatch.setattr(halves, "subtrees", watched)
    # The threads of pytest-xdist do nothing that a child could wait for.
    monkeypatch.setattr(assemble, "may_fork", lambda: True)
    return found


def test_two_processes_write_what_is_recorded(images: Images, given: list[bytes]) -> None:
    rootfs, found = images.build(many())
    assert given
    without = [
        entry.replacing(xattrs=()) if entry.type == "dir" else entry for entry in found.values()
    ]
    assert scan_entries(rootfs) == without
    assert sorted(x["path"] for x in images.lost()) == sorted(
        name for name, entry in found.items() if entry.xattrs
    )
    assert len(images.lost()) == 80


def test_an_altered_file_in_either_half_is_found(images: Images, given: list[bytes]) -> None:
    stream = many()
    rootfs, _ = images.build(stream)
    given.sort()
    theirs = os.fsdecode(given[0])
    inside = next(path for path in (rootfs / theirs).rglob("f5"))
    outside = next(
        path for path in rootfs.rglob("f5")
        if not any(path.is_relative_to(rootfs / os.fsdecode(place)) for place in given)
    )  # fmt: skip
    for number, path in enumerate((inside, outside)):
        path.chmod(0o600)
        path.write_text("altered")
        other, _ = images.build(stream, name=f"after{number}")
        assert (other / path.relative_to(rootfs)).read_text() != "altered"


def test_a_layer_twice_is_written_by_one(images: Images, given: list[bytes]) -> None:
    """Which of its places was shown first is for one process to know."""
    stream = many()
    rootfs, found = images.build(stream, stream)
    assert not given
    assert len(list(rootfs.rglob("f*"))) == 4800
    assert found["l3"].hard_link == b"d3/e3/f1"


def test_subtrees_are_disjoint_and_hold_their_share() -> None:
    root = Directory()
    for one in range(10):
        outer = root.children[b"d%d" % one] = Directory()
        assert isinstance(outer, Directory)
        for two in range(one):
            inner = outer.children[b"e%d" % two] = Directory()
            assert isinstance(inner, Directory)
            inner.children.update((b"%d" % three, b"") for three in range(100))
    weight = weights(root)
    chosen = subtrees(root, 0.36)
    held = sum(weight[id(node)] for _, node in chosen) / weight[id(root)]
    assert 0.3 < held <= 0.36
    paths = [path + b"/" for path, _ in chosen]
    assert not [(a, b) for a in paths for b in paths if a != b and a.startswith(b)]
    assert subtrees(root, 0.0) == []


def altered() -> None:
    raise AlteredLayer(7)


def refused() -> None:
    raise LayerError("it is broken", subject="layer", hint="mend it")


def test_what_the_other_process_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(AlteredLayer) as caught:
        Other(altered, tmp_path / "a").result()
    assert caught.value.position == 7
    with pytest.raises(LayerError, match="it is broken") as said:
        Other(refused, tmp_path / "b").result()
    assert said.value.hint == "mend it"
    with pytest.raises(StoreError, match="died"):
        Other(lambda: os._exit(9), tmp_path / "c").result()
