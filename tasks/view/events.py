"""Events: what happens in one invocation, told to whoever listens.

Everything that shows work listens here: the console, the JSON lines of ``--json`` (on standard
error, because standard output belongs to the container and to requested data) and the record
``build/report/last.jsonl`` that ``report`` draws. Schema: specs/events.schema.json.
"""

from __future__ import annotations

import json
import sys
import time
from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import DoitOciError
from ..store.atomic import write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    Event = dict[str, Any]
    Listener = Callable[[Event], None]

VERSION = 1
BETWEEN_BYTES = 1.0
"""Seconds between two ``bytes`` events of one item."""


def _thread_name() -> str:
    """The name of this thread; where no other can be, threading is not loaded to ask."""
    threading = sys.modules.get("threading")
    return threading.current_thread().name if threading else "MainThread"


class Item:
    """One piece of work that was begun: a blob, a layer or a step."""

    __slots__ = ("began", "done", "kind", "number", "subject", "told", "total")

    def __init__(self, number: int, kind: str, subject: str, total: int | None, now: float) -> None:
        self.number, self.kind, self.subject, self.total = number, kind, subject, total
        self.began = self.told = now
        self.done = 0


class Totals:
    """The sums of one invocation; bytes and counts.

    A blob counts once, however many tasks met at it: fetched if anyone fetched it, else reused.
    """

    def __init__(self) -> None:
        self.unpacked = self.layers = self.steps = self.failed = 0
        self._fetched: dict[str, int] = {}
        self._reused: dict[str, int] = {}

    def add(self, item: Item, outcome: str) -> None:
        if item.kind == "step":
            done = outcome == "done" and not item.subject.startswith("run:")
            self.steps += done
            self.failed += outcome == "failed"
        elif outcome == "reused":
            self._reused[f"{item.kind} {short(item.subject)}"] = item.total or item.done
        elif outcome == "done" and item.kind == "blob":
            self._fetched[f"blob {short(item.subject)}"] = item.done
        elif outcome == "done":
            self.layers += 1
            self.unpacked += item.done

    def hit(self, subject: str, size: int) -> bool:
        """A task was up to date; False for a blob that another task has just fetched along, and
        for what is known already."""
        kind, _, name = subject.partition(":")
        key = f"blob {short(name)}" if kind == "blob" else subject
        is_known = key in self._reused
        self._reused[key] = size
        return key not in self._fetched and not is_known

    @property
    def fetched(self) -> int:
        return sum(self._fetched.values())

    @property
    def blobs(self) -> int:
        return len(self._fetched)

    @property
    def reused(self) -> int:
        return len(self._reused.keys() - self._fetched.keys())

    @property
    def saved(self) -> int:
        return sum(size for key, size in self._reused.items() if key not in self._fetched)

    def to_json(self) -> dict[str, int]:
        names = ("blobs", "failed", "fetched", "layers", "reused", "saved", "steps", "unpacked")
        return {name: getattr(self, name) for name in names}


def short(subject: str) -> str:
    """What tells a digest from others, however much of it is given."""
    return subject.rpartition(":")[2][:12]


class Events:
    """The Progress of a command line. Listeners are called one at a time and must not raise."""

    def __init__(
        self,
        listeners: Sequence[Listener] = (),
        *,
        version: str = "",
        words: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.listeners: list[Listener] = list(listeners)
        self.totals = Totals()
        self._version, self._words = version, list(words)
        self._clock, self._wall = clock, wall
        self._lock = RLock()
        self._open: dict[int, Item] = {}
        self._errors: set[tuple[str, str]] = set()
        self._count = 0
        self._origin: float | None = None
        self._ended = False

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        """Begin one item of work; ``why`` says of a step what made it run."""
        with self._lock:
            self._count += 1
            self._begin()
            item = Item(self._count, kind, subject, total, self._clock())
            self._open[item.number] = item
            event = {"item": item.number, "kind": kind, "subject": subject}
            event |= {"total": total} if total is not None else {}
            event |= {"why": why} if why else {}
            self._tell("start", event | {"worker": _thread_name()})
            return item.number

    def advance(self, item: int, count: int) -> None:
        with self._lock:
            found = self._open.get(item)
            if found is None:
                return
            found.done += count
            now = self._clock()
            if now - found.told >= BETWEEN_BYTES:
                found.told = now
                self._tell("bytes", {"item": item, "done": found.done})

    def finish(self, item: int, outcome: str = "done") -> None:
        with self._lock:
            found = self._open.pop(item, None)
            if found is None:
                return
            self.totals.add(found, outcome)
            seconds = round(self._clock() - found.began, 6)
            event = {"item": item, "kind": found.kind, "subject": found.subject}
            event |= {"outcome": outcome, "bytes": found.done, "seconds": seconds}
            self._tell("finish", event)

    def note(self, text: str) -> None:
        with self._lock:
            self._tell("note", {"text": text})

    def pause(self) -> Callable[[], None]:
        """Have listeners end their threads; what is returned begins them again."""
        pauses = [getattr(each, "pause", None) for each in self.listeners]
        paused = [pause() for pause in pauses if pause is not None]

        def resume() -> None:
            for each in paused:
                each()

        return resume

    def hit(self, subject: str, size: int = 0) -> None:
        """A task was up to date; ``size`` is what a blob would have cost, in bytes.

        A blob that another blob's task has just fetched along is none. Told once.
        """
        with self._lock:
            if self.totals.hit(subject, size):
                self._tell("hit", {"subject": subject} | ({"bytes": size} if size else {}))

    def error(self, subject: str, message: str, *, hint: str = "", bug: bool = False) -> None:
        """Told once: images.lock that cannot be written is tried again at the end."""
        with self._lock:
            if (subject, message) in self._errors:
                return
            self._errors.add((subject, message))
            event = {"subject": subject, "message": message}
            event |= {"hint": hint} if hint else {}
            self._tell("error", event | ({"bug": True} if bug else {}))

    def failure(self, subject: str, text: str) -> None:
        """A piece of work failed; ``text`` is the error's, with its hint on a line of its own."""
        message, _, hint = text.strip().partition("\nhint: ")
        self.error(subject, message.removeprefix(f"{subject}: "), hint=hint)

    def close(self, status: int) -> None:
        """The invocation ends; says so once, and only if anything was said before."""
        with self._lock:
            if self._origin is None or self._ended:
                return
            self._ended = True
            self._tell("end", {"status": status, "totals": self.totals.to_json()})

    def open_items(self) -> list[Item]:
        """What is in work, the oldest first; for a display that looks from time to time."""
        # Without the lock: a listener that waits for the display to end holds it.
        return list(self._open.values())

    def _begin(self) -> None:
        if self._origin is None:
            self._origin = self._clock()
            began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall()))
            event = {"schema": VERSION, "version": self._version, "words": self._words}
            self._tell("begin", event | {"time": began})

    def _tell(self, name: str, event: Event) -> None:
        self._begin()
        assert self._origin is not None
        whole = {"event": name, "at": round(self._clock() - self._origin, 6), **event}
        for listener in self.listeners:
            listener(whole)


class Lines:
    """``--json``: one event per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __call__(self, event: Event) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The reader went away; the work goes on without it.
            self._stream = None


class Record:
    """What ``report`` reads: the events of the last invocation that did any work.

    Written before a container starts and at the end; a state directory that cannot be written has
    no record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: list[Event] = []
        self._worked = False

    def __call__(self, event: Event) -> None:
        name = event["event"]
        if name == "bytes":
            return
        self._events.append(event)
        runs = name == "start" and event["kind"] == "step" and event["subject"].startswith("run:")
        self._worked = self._worked or (name == "start" and not runs)
        if self._worked and (runs or name == "end"):
            self._write()

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(event, ensure_ascii=False) + "\n" for event in self._events]
            write_atomic(self._path, "".join(lines).encode(errors="replace"), sync=False)
        except (OSError, DoitOciError):
            return


def load_record(path: Path) -> list[Event]:
    """The recorded events; an empty list where nothing was built, damaged lines left out."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, Mapping) and "event" in event:
            found.append(dict(event))
    return found
