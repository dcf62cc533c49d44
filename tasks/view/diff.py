"""Diff: two images, bundles or locks side by side: configuration, layers and files.

Works from what is recorded: the lock, the configurations in the store, and the entries of unpacked
rootfs. Nothing is fetched or built for it; what is not there is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DeclarationError, DoitOciError
from ..figures import count_text, size_text
from ..oci.locked_image import LockedImage, LockedPlatform
from ..project.lock import Lock, load_lock
from ..project.plan import Plan
from ..project.workspace import Workspace
from ..store.entries_difference import EntryChange, compare_entries, words_of
from .config_words import image_config_words, runtime_config_words

LISTED = 30
"""Files of each kind that are named; the rest is counted."""


class Side(NamedTuple):
    """One of the two: ``entries`` is None where nothing is unpacked, ``config`` (config.json
    as it would be written now) where it cannot be made or where this is an image alone."""

    name: str
    locked: LockedPlatform
    entries: Path | None = None
    config: Mapping[str, Any] | None = None
    why_none: str = ""


class Difference(NamedTuple):
    """``config`` in words; ``layers`` by sign: ``=`` on both, ``-`` and ``+`` on one side only;
    ``files`` is None where a side has no recorded entries; ``notes`` say what is missing."""

    config: tuple[str, ...]
    layers: Mapping[str, Sequence[tuple[str, int]]]
    files: Sequence[EntryChange] | None
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.config or self.layers["-"] or self.layers["+"] or self.files)

    def to_json(self) -> dict[str, Any]:
        layers = {
            name: [{"digest": digest, "size": size} for digest, size in self.layers[sign]]
            for name, sign in (("shared", "="), ("removed", "-"), ("added", "+"))
        }
        value: dict[str, Any] = {"config": list(self.config), "layers": layers}
        if self.files is not None:
            value["files"] = [_file_json(change) for change in self.files]
        return value | {"notes": list(self.notes)}


def diff_names(plan: Plan, old: str, new: str) -> Difference:
    """Two bundles, or images by the bundles of their names.

    Raises: UnknownTarget, ContentError, StoreError, DeclarationError.
    """
    return compare(open_side(plan, old), open_side(plan, new), plan.workspace)


def open_side(plan: Plan, word: str) -> Side:
    """A bundle or image by name, with or without a step in front. Raises: UnknownTarget."""
    name = word.partition(":")[2] or word
    bundle = plan.bundle(name)
    entries = plan.workspace.entries(name)
    config, why_none = _config(plan, name)
    return Side(
        name=name,
        locked=plan.required(bundle),
        entries=entries if entries.is_file() else _same_layers(plan, name),
        config=config,
        why_none=why_none,
    )


def _config(plan: Plan, name: str) -> tuple[Mapping[str, Any] | None, str]:
    from .. import config_json as config_step

    bundle = plan.bundle(name)
    try:
        made = config_step.convert(
            image_config=plan.workspace.blob(plan.required(bundle).config.digest),
            bundle=bundle,
            rootfs=plan.workspace.rootfs(name),
            entries=plan.workspace.entries(name),
        )
    except (DoitOciError, OSError) as problem:
        # What cannot be converted (yet) is compared as the images say it.
        return None, str(problem).partition("\n")[0]
    return made.config, ""


def _same_layers(plan: Plan, name: str) -> Path | None:
    """The entries of another bundle of the same layers: files do not depend on overrides."""
    wanted = [layer.diff_id for layer in plan.required(plan.bundle(name)).layers]
    for other in plan.bundle_names():
        entries = plan.workspace.entries(other)
        if entries.is_file():
            bundle = plan.bundle(other)
            locked = plan.locked(bundle.image, plan.platform(bundle))
            if locked is not None and [layer.diff_id for layer in locked.layers] == wanted:
                return entries
    return None


def compare(old: Side, new: Side, workspace: Workspace) -> Difference:
    """The difference of two sides."""
    notes = []
    if old.config is not None and new.config is not None:
        config = tuple(runtime_config_words(old.config, new.config))
    else:
        words = config_change(old.locked, new.locked, workspace)
        config = words or ()
        notes += [f"overrides of {s.name}: {s.why_none}" for s in (old, new) if s.why_none]
        if words is None:
            notes.append("configuration: not in the store on both sides; `doit layout:IMAGE`")
    files: tuple[EntryChange, ...] | None = None
    if old.entries and new.entries:
        same = old.entries == new.entries
        files = () if same else tuple(compare_entries(old.entries, new.entries))
    else:
        lacking = old.name if not old.entries else new.name
        notes.append(f"files: {lacking} is not unpacked here; `doit rootfs:{lacking}`")
    return Difference(config, layer_change(old.locked, new.locked), files, tuple(notes))


def config_change(
    old: LockedPlatform, new: LockedPlatform, workspace: Workspace
) -> tuple[str, ...] | None:
    """What the image configurations say otherwise; None where one is not in the store."""
    if old.config.digest == new.config.digest:
        return ()
    documents = []
    for platform in (old, new):
        try:
            documents.append(json.loads(workspace.blob(platform.config.digest).read_bytes()))
        except (OSError, ValueError):
            return None
    if not all(isinstance(document, dict) for document in documents):
        return None
    return tuple(image_config_words(documents[0], documents[1]))


def layer_change(old: LockedPlatform, new: LockedPlatform) -> dict[str, list[tuple[str, int]]]:
    """Layers by digest of their uncompressed content, each with its stored size."""
    before = {str(each.diff_id): each.descriptor for each in old.layers}
    after = {str(each.diff_id): each.descriptor for each in new.layers}
    return {
        "=": [(str(d.digest), d.size) for key, d in after.items() if key in before],
        "-": [(str(d.digest), d.size) for key, d in before.items() if key not in after],
        "+": [(str(d.digest), d.size) for key, d in after.items() if key not in before],
    }


def diff_locks(old: Lock, new: Lock, workspace: Workspace) -> Iterator[tuple[str, Difference]]:
    """Every image and platform that both locks have with other digests, with its difference."""
    for name in new.images:
        before, after = old.image(name), new.image(name)
        if before is not None and after is not None:
            yield from diff_images(name, before, after, workspace)


def diff_images(
    name: str, old: LockedImage, new: LockedImage, workspace: Workspace
) -> Iterator[tuple[str, Difference]]:
    """The platforms of one image that became others."""
    for text, after in new.platforms.items():
        before = old.platforms.get(text)
        if before is None or before.manifest.digest == after.manifest.digest:
            continue
        words = config_change(before, after, workspace)
        notes = () if words is not None else ("configuration: the old one is not in the store",)
        yield (
            f"{name} for {text}",
            Difference(words or (), layer_change(before, after), None, notes),
        )


def open_lock(path: Path) -> Lock:
    """A lock file under any name. Raises: DeclarationError."""
    if not path.is_file():
        raise DeclarationError("is no file", subject=str(path))
    return load_lock(path)


def difference_text(found: Difference, *, every: bool = False) -> str:
    """For people; ``every`` names all files."""
    if found.is_empty and not found.notes:
        return "no difference\n"
    lines = ["config:"] if found.config else []
    lines += [f"  {words}" for words in found.config]
    lines += _layer_lines(found.layers)
    if found.files is not None:
        lines += _file_lines(found.files, every=every)
    lines += found.notes
    return "".join(f"{line}\n" for line in lines)


def _layer_lines(layers: Mapping[str, Sequence[tuple[str, int]]]) -> list[str]:
    parts = [
        f"{count_text(len(layers[sign]), 'layer')} {words} ({_sum(layers[sign])})"
        for sign, words in (("=", "shared"), ("-", "removed"), ("+", "added"))
        if layers[sign]
    ]
    lines = [f"layers: {', '.join(parts) or 'none'}"]
    for sign in ("-", "+"):
        lines += [f"  {sign} {digest}  {size_text(size)}" for digest, size in layers[sign]]
    return lines


def _sum(layers: Sequence[tuple[str, int]]) -> str:
    return size_text(sum(size for _, size in layers))


def _file_lines(files: Sequence[EntryChange], *, every: bool) -> list[str]:
    kinds: dict[str, list[EntryChange]] = {"+": [], "-": [], "~": []}
    times = 0
    for change in files:
        if change.is_time_only:
            times += 1
        else:
            kinds["+" if change.old is None else "-" if change.new is None else "~"].append(change)
    grown = {sign: sum(c.sizes[1] - c.sizes[0] for c in each) for sign, each in kinds.items()}
    parts = [
        f"{len(kinds[sign])} {words} ({'+' if grown[sign] > 0 else ''}{size_text(grown[sign])})"
        for sign, words in (("+", "added"), ("-", "removed"), ("~", "changed"))
        if kinds[sign]
    ]
    parts += [f"{times} with another time only"] if times else []
    lines = [f"files: {', '.join(parts) or 'the same'}"]
    for sign, each in kinds.items():
        shown = each if every else each[:LISTED]
        lines += [f"  {sign} {_file_words(change)}" for change in shown]
        if len(shown) < len(each):
            lines.append(f"  {sign} … and {len(each) - len(shown)} more; --all names them")
    return lines


def _file_words(change: EntryChange) -> str:
    before, after = change.sizes
    if change.old is None or change.new is None:
        return f"{change.path}  {size_text(before + after)}"
    size = f"{size_text(before)} → {size_text(after)}, " if before != after else ""
    return f"{change.path}  {size}{', '.join(words_of(change.old, change.new))}"


def _file_json(change: EntryChange) -> dict[str, Any]:
    before, after = change.sizes
    value: dict[str, Any] = {"path": change.path}
    if change.old is None:
        return value | {"change": "added", "size": after}
    if change.new is None:
        return value | {"change": "removed", "size": before}
    words = list(words_of(change.old, change.new)) or ["time"]
    return value | {"change": "changed", "size": after, "old_size": before, "words": words}
