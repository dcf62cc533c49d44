"""A container that goes on by itself: its supervisor is a process without a terminal."""

from __future__ import annotations

import json
import os
import threading
import time

from ...oci.annotation import HEALTHCHECK
from .container import EXITED, containers_folder, is_tended, load_record
from .failure import failure
from .health import HEALTHY, UNHEALTHY, load_health
from .log_file import NAME, LogWriter
from .session import Session
from .supervise import TICK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .container import Container
    from .settings import Settings

ANSWER = 3


def run_detached(settings: Settings) -> str:
    """Start a container and return its id once it runs.

    Raises:
        RuntimeFailed: it could not be started.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become_supervisor(settings, writer)
    os.close(writer)
    os.waitpid(child, 0)
    text = b""
    while block := os.read(reader, 65536):
        text += block
    os.close(reader)
    identifier = ""
    error: list[str] | None = ["the supervisor ended before the container had started", ""]
    for line in text.splitlines():
        kind, *words = json.loads(line)
        if kind == "note":
            settings.progress.note(words[0])
        elif kind == "started":
            identifier, error = words[0], None
        else:
            error = words
    if error is not None:
        raise failure(error[0], settings.name, error[1] or None)
    return identifier


def await_health(settings: Settings, identifier: str) -> None:
    """Return when a detached container is healthy; at once where nothing asks for its health.

    Raises:
        RuntimeFailed: it is not, or has ended.
    """
    if HEALTHCHECK not in (settings.load_config().get("annotations") or {}):
        return
    folder = f"{containers_folder(settings.run_folder)}/{identifier}"
    while True:
        tended = is_tended(folder)  # asked first: who lets go has written how it ended
        record = load_record(folder)
        health = load_health(folder)
        if record is None or EXITED in record:
            status = "" if record is None else f" with status {record[EXITED]}"
            hint = f"`doit-oci logs {identifier}` prints what it wrote"
            raise settings.failure(f"ended{status} before it was healthy", hint)
        if health is not None and health["status"] == HEALTHY:
            return
        if not tended:
            raise settings.failure(
                "was killed before it was healthy, with the process that looked after it",
                "what is left of it goes with the next run, or with `doit-oci ps`",
            )
        if health is not None and health["status"] == UNHEALTHY:
            last = health["log"][-1]
            said = f": {last['output'].strip()}" if last["output"].strip() else ""
            hint = f"`doit-oci logs {identifier}` prints what it wrote; it still runs"
            raise settings.failure(
                f"is unhealthy: the last probe ended with {last['exitStatus']}{said}", hint
            )
        time.sleep(TICK)


def _become_supervisor(settings: Settings, writer: int) -> NoReturn:
    """Leave the session, the descriptors and the locks of the process that started us."""
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(writer, ANSWER, inheritable=False)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.closerange(ANSWER + 1, os.sysconf("SC_OPEN_MAX"))
            _Supervisor(settings).run()
        status = 0
    finally:
        os._exit(status)


class _Supervisor:
    """What the process in the background does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.answered = False
        self.box: Container | None = None
        settings.progress = self  # type: ignore[assignment]  # notes are all that a run has to say

    def note(self, text: str) -> None:
        self._answer("note", text)

    def _answer(self, *words: str) -> None:
        if not self.answered:
            os.write(ANSWER, json.dumps(words).encode() + b"\n")

    def run(self) -> None:
        from ...errors import DoitOciError

        out, self._out = os.pipe()
        err, self._err = os.pipe()
        self._sources = {out: b"stdout", err: b"stderr"}
        self._log: threading.Thread | None = None
        try:
            session = Session(
                self.settings, standard_files=(0, self._out, self._err), detached=True
            )
            session.run(started=self._started, running=self._running, ended=self._ended)
        except DoitOciError as error:
            self._answer("error", error.message, error.hint or "")
        except Exception as error:  # noqa: BLE001  nobody else is left to hear of it
            self._answer("error", repr(error), "")
        else:
            if not self.answered and self.box is not None:
                self._answer("started", self.box.identifier)

    def _started(self, box: Container) -> None:
        self.box = box
        os.close(self._out)
        os.close(self._err)
        log = LogWriter(box.path(NAME), **self.settings.log)
        self._log = threading.Thread(target=log.copy, args=(self._sources,), daemon=True)
        self._log.start()

    def _running(self) -> None:
        if self.box is not None:
            self._answer("started", self.box.identifier)
            self.answered = True
            os.close(ANSWER)

    def _ended(self) -> None:
        if self._log is not None:
            self._log.join()
