"""Merging: a build's layers become one tree of names, as they arrive and as they are on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from . import index, unpack
from .build import Build, load_facts
from .listing import write_list
from .materialise import AlteredLayer
from .merge import LAYER_BYTES, Directory, Tree, layer_of
from .source import over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .stack import Stack


WORTH_KEEPING = 4_000
"""Entries that take longer to merge than to read back."""


class Merging:
    """Merges layers in their order as they arrive, while others are still being unpacked."""

    def __init__(self, build: Build, work: Path) -> None:
        self.tree = Tree()
        self._build = build
        self._work = work
        self._facts: list[dict[str, Any]] = []
        self._held: list[tuple[Directory, bytes]] = []
        self._is_settled = False
        self._stack: Stack | None = None
        self._entries = self._bytes = 0

    @property
    def is_complete(self) -> bool:
        return len(self._facts) == len(self._build.layers)

    def is_current(self) -> bool:
        """Whether the layers are still those that were merged: which files they lack may differ."""
        layers = self._build.layers[: len(self._facts)]
        return self._facts == [load_facts(self._build, source) for source in layers]

    def lacking(self) -> set[int]:
        """Positions of the layers that left out files which are seen after all. What is seen and
        held is kept for :meth:`release`."""
        absent: set[int] = set()
        if not self._is_settled:
            absent, self._held = self.tree.lacking()
        return absent

    @property
    def is_held(self) -> bool:
        """Whether something that is seen is to be released first."""
        return bool(self._held)

    def release(self) -> None:
        """Give what is seen and held its inodes. Raises: AlteredLayer, OSError."""
        if not self._held:
            return
        from .releasing import release

        seen: dict[int, set[bytes]] = {}
        for directory, name in self._held:
            leaf = directory.leaf(name)
            seen.setdefault(layer_of(leaf), set()).add(leaf[LAYER_BYTES:])
        new: dict[tuple[int, bytes], bytes] = {}
        for position, records in seen.items():
            facts, renewed = release(self._build, self._work, position, records)
            self._facts[position] = facts
            new |= {(position, old): record for old, record in renewed.items()}
        for directory, name in self._held:
            leaf = directory.leaf(name)
            renewed_record = new[layer_of(leaf), leaf[LAYER_BYTES:]]
            directory.children[name] = leaf[:LAYER_BYTES] + renewed_record
            self.tree.touched.add(id(directory))
        self._held = []
        self._is_settled = True

    def advance(self) -> None:
        """Merge what can be merged now. Raises: LayerError, LimitExceeded, AlteredLayer."""
        if not self._facts:
            self._begin_above()
        while not self.is_complete:
            position = len(self._facts)
            source = self._build.layers[position]
            facts = load_facts(self._build, source)
            if facts is None:
                return
            self._count(facts)
            try:
                self.tree.apply(
                    position,
                    partial(index.records_of, self._build.layer_path(source) / unpack.INDEX_FILE),
                    whiteouts=facts["whiteouts"],
                    subject=f"layer {source.descriptor.digest}",
                )
            except OSError as error:
                raise AlteredLayer(position) from error
            self._facts.append(facts)
            self._keep()

    def _begin_above(self) -> None:
        """Begin with the tree of the lower layers where an image before this one has kept it."""
        facts: list[dict[str, Any]] = []
        for source in self._build.layers:
            found = load_facts(self._build, source)
            if found is None:
                break
            facts.append(found)
        for count in range(len(facts), 0, -1):
            place = self._build.layer_path(self._build.layers[count - 1])
            if not (place / unpack.STACK_FILE).exists():
                continue
            from .stack import load

            stack = load(place, facts[:count])
            if stack is not None:
                for each in facts[:count]:
                    self._count(each)
                self._stack, self.tree, self._facts = stack, stack.tree, facts[:count]
                return

    def _keep(self) -> None:
        """Keep the tree below the top layer: that is what the next image most likely has too."""
        count = len(self._facts)
        if (
            count == len(self._build.layers) - 1
            and self._entries > WORTH_KEEPING
            and self.tree.is_light()
        ):
            from .stack import save

            place = self._build.layer_path(self._build.layers[count - 1])
            with suppress(OSError):
                self._stack = save(place, self.tree, self._facts, self._work)

    @contextmanager
    def is_listed(self) -> Iterator[bool]:
        """Whether :meth:`list_entries`, within this context, can copy most of the list."""
        if self._stack is None:
            yield False
            return
        try:
            yield self._stack.look(implied_mtime=self._build.implied_mtime)
        finally:
            self._stack.close()

    def list_entries(self, path: Path) -> None:
        """Write the entries of the whole tree. Raises: LimitExceeded, OSError."""
        implied_mtime = self._build.implied_mtime
        if self._stack is not None:
            self._stack.list_entries(path, implied_mtime=implied_mtime)
        else:
            write_list(self.tree, path, implied_mtime=implied_mtime)

    def _count(self, facts: dict[str, Any]) -> None:
        self._entries += facts["entries"]
        self._bytes += facts["bytes"]
        subject, limits = str(self._build.destination), self._build.limits
        if self._entries > limits.entries:
            raise over("entries", f"more than {limits.entries} entries", subject=subject)
        if self._bytes > limits.unpacked_bytes:
            raise over(
                "unpacked_bytes",
                f"the layers unpack to more than {limits.unpacked_bytes} bytes",
                subject=subject,
            )
