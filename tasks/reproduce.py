"""Build a bundle twice in different surroundings, and name the first thing that differs.

In: the declaration, the lock and the blobs. Out: the digest that both builds gave. The builds have
nothing in common but these: another directory, umask, locale, time zone and user.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ContentError, StoreError
from .named_files import project_in
from .progress import Progress, Silent
from .store.bundle_digest import bundle_digest
from .store.elsewhere import Surroundings, as_another_user, run_elsewhere
from .store.layers.builder import remove_tree
from .store.recorded_entries import load_entries, show
from .value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .oci.entry import Entry

FIELDS = ("type", "mode", "uid", "gid", "mtime", "size", "sha256", "target", "xattrs", "device",
          "hard_link")  # fmt: skip


class Built(Value):
    """What one build recorded."""

    entries: Path
    config_json: Path

    @property
    def digest(self) -> str:
        return bundle_digest(entries=self.entries, config_json=self.config_json)


def reproduce(
    *,
    bundle: str,
    command: Sequence[str],
    files: Mapping[str, bytes],
    blobs: Sequence[Path],
    blobs_root: Path,
    environ: Mapping[str, str],
    here: Built | None = None,
    progress: Progress | None = None,
) -> str:
    """Build twice and return the bundle digest.

    ``command`` builds the bundle of the images.toml in its working directory into ``build/``
    there; ``files`` are that directory's files by relative name; ``blobs`` are what the image
    needs, beneath ``blobs_root``; ``here`` is the bundle that both have to equal.
    Raises: ContentError naming the first difference.
    """
    progress = progress or Silent()
    there = Surroundings(umask=0o077, locale="C", zone="Asia/Kathmandu")
    other = as_another_user(there)
    if other is None:
        progress.note("both builds are this user's: there is no other one to be had")
    sides = (
        ("one", Surroundings(umask=0o022, locale="C.UTF-8", zone="UTC")),
        ("another place", other or there),
    )
    tmp = Path(tempfile.mkdtemp(prefix="doit-oci-reproduce-"))
    tmp.chmod(0o711)
    built = []
    try:
        for name, surroundings in sides:
            place = tmp / name
            project = prepare(place, files, blobs, blobs_root, surroundings.user)
            item = progress.start("step", f"{bundle} under {surroundings}")
            run_elsewhere(
                command, cwd=project, environ=environ, surroundings=surroundings, subject=bundle
            )
            progress.finish(item)
            state = project / "build"
            built.append(
                Built(
                    entries=state / "entries" / f"{bundle}.jsonl",
                    config_json=state / "bundles" / bundle / "config.json",
                )
            )
        digest = same_digest(bundle, *built)
        if here is not None and here.digest != digest:
            raise ContentError(
                f"is not what building it again gives: {first_difference(here, built[0])}",
                subject=bundle,
                hint=f"`doit verify {bundle}` says what was changed; `doit clean {bundle}` and "
                "a build make it anew",
            )
        return digest
    finally:
        with contextlib.suppress(StoreError):
            remove_tree(tmp)


def prepare(
    place: Path,
    files: Mapping[str, bytes],
    blobs: Sequence[Path],
    blobs_root: Path,
    user: int | None,
) -> Path:
    """A project of its own, with copies of the blobs: nothing is shared with the other build."""
    project = project_in(place, files)
    for name, content in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for blob in blobs:
        target = project / "build" / "blobs" / blob.relative_to(blobs_root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blob, target)
    if user is not None:
        for parent_name, directories, names in os.walk(place):
            for each in (*directories, *names, "."):
                os.chown(os.path.join(parent_name, each), user, user)
    return project


def same_digest(bundle: str, first: Built, second: Built) -> str:
    """The digest of both. Raises: ContentError naming the first difference."""
    if first.digest == second.digest:
        return first.digest
    raise ContentError(
        f"is not reproducible: {first_difference(first, second)}",
        subject=bundle,
        hint="this is a defect of doit-oci: equal inputs must give one digest",
    )


def first_difference(first: Built, second: Built) -> str:
    """The first path and field, by the order of the entries; else the place in config.json."""
    pairs = zip_longest(load_entries(first.entries), load_entries(second.entries))
    for one, other in pairs:
        if one != other:
            return entry_difference(one, other)
    return json_difference(
        json.loads(first.config_json.read_bytes()), json.loads(second.config_json.read_bytes())
    )


def entry_difference(one: Entry | None, other: Entry | None) -> str:
    if one is None or other is None or one.path != other.path:
        paths = [each.path for each in (one, other) if each is not None]
        return f"{show(min(paths))} is in one build only"
    for field in FIELDS:
        here, there = getattr(one, field), getattr(other, field)
        if here != there:
            shape = oct if field == "mode" else repr
            return f"{field} of {show(one.path)} is {shape(here)} and {shape(there)}"
    return f"{show(one.path)} is spelt in two ways"


def json_difference(one: Any, other: Any, place: str = "config.json") -> str:
    """The first differing place, in the order of the keys."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                return f"{place}: {key} is in one build only"
            if one[key] != other[key]:
                return json_difference(one[key], other[key], f"{place}: {key}")
    if isinstance(one, list) and isinstance(other, list):
        for number, (here, there) in enumerate(zip(one, other, strict=False)):
            if here != there:
                return json_difference(here, there, f"{place}[{number}]")
    if one == other:
        return f"{place} is spelt in two ways"
    return f"{place} is {one!r} and {other!r}"
