"""Random stacks of layers, small enough that names meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.support.layers import item

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.sampled_from(["a", "b", "/a", "/b/c", "../a", "..", "a/b", "nowhere", "/"])
MODES = st.sampled_from([0o755, 0o700, 0o644, 0o4755, 0o1777, 0o2750])
IDS = st.sampled_from([0, 1, 1000])
TIMES = st.sampled_from([1, 1_600_000_000, 1_700_000_000])


@st.composite
def paths(draw: st.DrawFn) -> str:
    return "/".join(draw(st.lists(NAMES, min_size=1, max_size=3)))


@st.composite
def entries(draw: st.DrawFn) -> Any:
    """One entry of any kind but whiteouts."""
    kind = draw(
        st.sampled_from(["file"] * 4 + ["dir"] * 4 + ["symlink"] * 2 + ["link", "fifo", "char"])
    )
    path = draw(paths())
    values: dict[str, Any] = {"uid": draw(IDS), "gid": draw(IDS), "mtime": draw(TIMES)}
    if kind == "file":
        return item(path, draw(st.sampled_from(["", "x", "yy"])), mode=draw(MODES), **values)
    if kind == "dir":
        return item(path + "/", mode=draw(MODES), **values)
    if kind == "symlink":
        return item(path, link=draw(TARGETS), mode=0o777, **values)
    if kind == "link":
        return item(path, type="link", link=draw(paths()))
    return item(path, type=kind, mode=draw(MODES), device=(1, 3), **values)


@st.composite
def whiteouts(draw: st.DrawFn) -> Any:
    parent, _, name = draw(paths()).rpartition("/")
    name = ".wh..wh..opq" if draw(st.integers(0, 3)) == 0 else ".wh." + name
    return item(f"{parent}/{name}" if parent else name)


def layers() -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(entries(), entries(), entries(), whiteouts()), max_size=7)


def stacks() -> st.SearchStrategy[list[list[Any]]]:
    """Stacks in which some layer stands twice now and then, as nothing forbids."""
    return st.lists(layers(), min_size=1, max_size=4).flatmap(
        lambda made: st.sampled_from([made, made, [*made, made[0]]])
    )
