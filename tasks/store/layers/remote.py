"""A build in a process of its own: with no threads, a umask of zero, and ids of its own if need be.

The parent writes one JSON request to the child's standard input and reads JSON lines from its
standard output: progress as it comes, then a result or an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ...errors import StoreError
from ...progress import Progress
from .crew import Lines, error_from_json, error_to_json, write_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .. import user_namespace

BOOT = (
    "import sys,json;sys.path[:]=json.loads(sys.argv[1]);"
    "from importlib import import_module as load;load(sys.argv[2]).main()"
)


def find_mapping() -> user_namespace.IdMap | None:
    """The ids that an ordinary user may map; None for root and for users who have but one."""
    if os.geteuid() == 0:
        return None
    from .. import user_namespace
    from ..runtime.find import find_executable

    found = user_namespace.find_id_map(find_executable)
    return None if found.is_single else found


def describe(id_map: user_namespace.IdMap) -> str:
    """A text that is the same as long as the owners on the disk mean the same."""
    parts = (",".join(":".join(map(str, ids)) for ids in x) for x in (id_map.uids, id_map.gids))
    return "mapped " + "/".join(parts)


def call(request: dict[str, Any], progress: Progress) -> Any:
    """Have a child do ``request`` and return what it returns.

    Raises: what the child raises, StoreError when it dies.
    """
    request_out, request_in = os.pipe()
    answer_out, answer_in = os.pipe()
    words = [sys.executable, "-c", BOOT, json.dumps(sys.path), __name__]
    try:
        pid = os.posix_spawn(
            sys.executable,
            words,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, request_out, 0),
                (os.POSIX_SPAWN_DUP2, answer_in, 1),
            ],
        )
    finally:
        os.close(request_out)
        os.close(answer_in)
    finished = False
    try:
        write_line(request_in, request)
        result = listen(Lines(answer_out), progress)
        finished = True
        return result
    finally:
        os.close(request_in)
        os.close(answer_out)
        if not finished:
            import signal

            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def clean_apart(tmp: Path, containers: Path | None) -> None:
    """Have a process that nobody waits for remove what is stale; the next build would do it too."""
    request_out, request_in = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    words = [sys.executable, "-c", BOOT, json.dumps(sys.path), __name__]
    try:
        os.posix_spawn(
            sys.executable,
            words,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, request_out, 0),
                (os.POSIX_SPAWN_DUP2, nowhere, 1),
                (os.POSIX_SPAWN_DUP2, nowhere, 2),
            ],
            setsid=True,
        )
        place = str(containers) if containers else None
        write_line(
            request_in, {"do": "clean", "mapped": False, "tmp": str(tmp), "containers": place}
        )
    finally:
        for fd in (request_out, request_in, nowhere):
            os.close(fd)


def listen(lines: Lines, progress: Progress) -> Any:
    """What a child says until it has done a request, and what it returns.

    Raises: what the child raises, StoreError when it dies.
    """
    items: dict[int, int] = {}
    while (found := lines.read()) is not None:
        for kind, *values in found:
            if kind == "start":
                items[values[0]] = progress.start(*values[1:])
            elif kind == "advance":
                progress.advance(items[values[0]], values[1])
            elif kind == "finish":
                progress.finish(items[values[0]], values[1])
            elif kind == "note":
                progress.note(values[0])
            elif kind == "error":
                raise error_from_json(values[0])
            else:
                return values[0]
    raise StoreError("the process that unpacks died", subject="unpacking")


class Spoken:
    """Progress that tells the parent process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._items = 0

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        self._items += 1
        write_line(self._fd, ["start", self._items, kind, subject, total])
        return self._items

    def advance(self, item: int, count: int) -> None:
        write_line(self._fd, ["advance", item, count])

    def finish(self, item: int, outcome: str = "done") -> None:
        write_line(self._fd, ["finish", item, outcome])

    def note(self, text: str) -> None:
        write_line(self._fd, ["note", text])

    def pause(self) -> Callable[[], None]:
        return lambda: None


def main() -> None:
    """The child: read a request, do it, say how it went."""
    import gc
    import signal

    # It lives for one request, and what it keeps by the million holds no cycles.
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with open(0, "rb", closefd=False) as stdin:
        request = json.loads(stdin.readline())
    os.umask(0)
    answers = os.dup(1)
    os.dup2(2, 1)
    _do(request, answers)


def serve_forked(requests: int, answers: int) -> NoReturn:
    """A forked child's life: one request after the other, until nobody can give it any more."""
    import gc
    import signal

    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        gc.disable()
        os.umask(0)
        os.dup2(2, 1)
        with open(requests, "rb") as lines:
            while line := lines.readline():
                _do(json.loads(line), answers)
        status = 0
    finally:
        # It must never return into its parent's code.
        os._exit(status)


def _do(request: dict[str, Any], answers: int) -> None:
    if not request.pop("mapped"):
        _answer(request, answers)
        return
    from .. import user_namespace

    id_map = find_mapping()
    try:
        if id_map is None:
            raise PermissionError(1, "no subordinate ids")
        pid = user_namespace.fork_mapped(id_map, lambda: _answer(request, answers))
    except OSError as error:
        write_line(answers, ["error", error_to_json(error)])
        return
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(1)


def _answer(request: dict[str, Any], answers: int) -> None:
    from . import assemble, build, remove, staging

    work: dict[str, Callable[..., Any]] = {
        "build": lambda **values: assemble.run(build.Build.from_json(values), Spoken(answers)),
        "clean": lambda tmp, containers: staging.clean_stale(
            Path(tmp), Path(containers) if containers else None
        ),
        "remove": lambda path: remove.remove_here(Path(path)),
    }
    try:
        result = work[request.pop("do")](**request)
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001  the parent raises it again
        answer = ["error", error_to_json(error)]
    else:
        answer = ["result", result]
    try:
        write_line(answers, answer)
    except BrokenPipeError:
        pass
