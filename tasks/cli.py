"""The front door of ``doit-oci``, and of ``doit`` where ``[tool.doit]`` names our loader.

Three things stock doit's door cannot do are done here: arguments after ``--`` are kept whole (doit
takes ``NAME=value`` out of them and stumbles over an empty one), options may stand behind the
target, and what is one chain of steps, or known to be current, is done without loading doit at all.
"""

from __future__ import annotations

import os
import sys

from .command_line import split, take_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

BRIDGE = f"{__package__}.doit_bridge"
"""Loaded wherever there was more to do than a warm start."""
GARBAGE = 50_000
"""New objects that may be garbage before it is looked for."""
STOCK_DOORS = ("doit", "__main__.py")


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        from .standard_files import open_missing

        open_missing()
    try:
        return _main(words)
    except KeyboardInterrupt as interrupt:
        from .interrupt import status_of

        return status_of(interrupt)


def door() -> Any:
    """The loader that ``[tool.doit]`` names: stock doit asks for it with nothing in hand, and our
    own door takes the command line up anew, unless doit is called from a program."""
    if os.path.basename(sys.argv[0]) in STOCK_DOORS:
        leave(main(sys.argv[1:]))
    from .doit_bridge import Loader

    return Loader()


def console() -> None:
    """The program ``doit-oci``. What a start loads stays, so that looking for garbage among it so
    often finds nothing and takes a fifteenth of the time."""
    import gc

    gc.set_threshold(GARBAGE, 20, 20)
    leave(main())


def leave(status: int) -> NoReturn:
    """End the process; after a warm start at once, because taking down the interpreter costs as
    much as what was ours of the start, and nothing of ours is open."""
    if BRIDGE not in sys.modules:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                status = status or 1
        os._exit(status)
    raise SystemExit(status)


def _main(words: list[str]) -> int:
    if words[:1] == ["__complete"]:
        from .completion import complete

        return complete(" ".join(words[1:]))
    head, tail = split(words)
    from .errors import DoitOciError

    try:
        head, found = take_options(head)
    except DoitOciError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    if tail:  # a script's `-- "$@"` without arguments replaces nothing
        found["args"] = tail
    status = run_warm(head, found)
    if status is not None:
        return status
    if "--version" in head:
        from . import __version__
        from .standard_files import write_output

        write_output(f"doit-oci {__version__}\n".encode())
        return 0
    if "--help" in head or "-h" in head:
        head = ["help", *(word for word in head if not word.startswith("-"))][:2]
    from .interrupt import end_in_order
    from .project.plan import Options

    end_in_order()
    args = found.pop("args", None)
    options = Options(args=None if args is None else tuple(args), words=tuple(head), **found)
    if len(head) == 1 and ":" in head[0]:
        from .direct import build_target

        status = build_target(head[0], options)
        if status is not None:
            return status
    from .doit_bridge import run_doit
    from .standard_files import guard_output

    guard_output()
    try:
        return run_doit(head, options)
    finally:
        sys.stdout.flush()


def run_warm(head: list[str], found: dict[str, Any]) -> int | None:
    """Do without doit what a record says is all that is left: run a bundle, or nothing at all."""
    if head in ([], ["bundle"]):
        return all_is_built(found)
    if head == ["lock", "--check"]:
        return lock_is_checked(found)
    if len(head) != 1 or not head[0].startswith("run:"):
        return None
    name = head[0][4:]
    if not name or "/" in name or name.startswith("."):
        return None
    return run_ready(name, found)


def ready_record(name: str, found: dict[str, Any]) -> dict[str, Any] | None:
    """The record of that name for this folder, if it still holds."""
    from .warm.bundle import load_ready

    ready = load_ready(f"{found['state'] or 'build'}/ready/{name}.json")
    return ready if ready is not None and ready["cwd"] == os.getcwd() else None


def run_ready(name: str, found: dict[str, Any]) -> int | None:
    """Run a bundle of which nothing has changed."""
    if not found.keys() <= {"state", "args", "offline", "quiet"}:
        return None
    ready = ready_record(name, found)
    if ready is None:
        return None
    from .store.cgroup import prepare_to_move_beside

    prepare_to_move_beside()
    from .errors import DoitOciError
    from .run import run_bundle

    try:
        return run_bundle(**ready["run"], args=found.get("args"), progress=Notes())
    except DoitOciError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status


def all_is_built(found: dict[str, Any]) -> int | None:
    """0 where every bundle is known to be current."""
    if not found.keys() <= {"state", "offline", "quiet", "locked"}:
        return None
    from .warm.all_bundles import is_unchanged
    from .warm.bundle import ALL

    state = found["state"] or "build"
    return 0 if is_unchanged(f"{state}/ready/{ALL}.json", state) else None


def lock_is_checked(found: dict[str, Any]) -> int | None:
    """0 where the lock is known to fit the declaration."""
    if not found.keys() <= {"state", "offline", "quiet", "locked"}:
        return None
    from .warm.lock_check import FITS, is_known_to_fit

    record = f"{found['state'] or 'build'}/ready/{FITS}.json"
    return 0 if is_known_to_fit(record, "images.toml", "images.lock") else None


class Notes:
    """Progress of a warm start: there is no work to show, only what people should know."""

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        return 0

    def advance(self, item: int, count: int) -> None:
        pass

    def finish(self, item: int, outcome: str = "done") -> None:
        pass

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def pause(self) -> Callable[[], None]:
        return lambda: None
