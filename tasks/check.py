"""Step check: run a bundle and compare what it does with its check table.

In: a built bundle and its ``[bundles.NAME.check]``. Out: the facts of a pass, or CheckFailed with
everything that differs; either way ``build/checks/NAME.xml``, in JUnit's format, for CI. The key
holds the bundle digest and the table, so a check that has passed is not run again.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckFailed
from .progress import Progress, Silent
from .store import overlay
from .store.atomic import write_atomic
from .store.runtime.session import Session
from .store.runtime.settings import LIMITS_REQUIRED, Settings
from .store.runtime.stale import remove_stale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from .store.runtime.container import Container

    Expectation = str | Sequence[str]

GRACE = 1.0
SHOWN = 400
LARGEST = 64 * 1024 * 1024


class CheckResult:
    """What a check's run came to; ``problems`` is empty for a pass."""

    __slots__ = ("name", "problems", "seconds", "status", "stderr", "stdout")

    def __init__(
        self,
        *,
        name: str,
        seconds: float,
        status: int,
        stdout: bytes,
        stderr: bytes,
        problems: Sequence[str],
    ) -> None:
        self.name = name
        self.seconds = seconds
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.problems = tuple(problems)


def check_bundle(
    *,
    check: Mapping[str, Any],
    bundle: str | PathLike[str],
    name: str,
    run_dir: str | PathLike[str],
    runtime: str | None,
    runtime_args: Sequence[str] = (),
    entrypoint: Sequence[str],
    project: str | PathLike[str],
    persistent: bool = False,
    network: str | None = None,
    timeout: float | None = None,
    stop_grace: float = 10.0,
    cgroup_limits: str = LIMITS_REQUIRED,
    init: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a bundle and hold it against its check table.

    Raises:
        CheckFailed: it did not do what the table says; each difference is a line.
        RuntimeFailed: it could not be started.
    """
    settings = Settings(
        bundle=os.path.abspath(bundle),
        name=name,
        run_folder=os.path.abspath(run_dir),
        project=os.path.abspath(project),
        runtime=runtime,
        runtime_args=runtime_args,
        args=_words(check.get("command")),
        entrypoint=entrypoint,
        persistent=persistent,
        network=network,
        timeout=check.get("timeout", timeout),
        stop_grace=min(stop_grace, GRACE),
        cgroup_limits=cgroup_limits,
        tty=False,
        init=init,
        progress=progress or Silent(),
    )
    remove_stale(settings.run_folder)
    result = run_check(settings, check)
    write_atomic(Path(settings.run_folder).parent / f"checks/{name}.xml", junit_xml([result]))
    if result.problems:
        count = len(result.problems)
        head = "1 difference" if count == 1 else f"{count} differences"
        raise CheckFailed("\n  ".join((head, *result.problems)), subject=f"check:{name}")
    return {"status": result.status, "seconds": round(result.seconds, 3)}


def run_check(settings: Settings, check: Mapping[str, Any]) -> CheckResult:
    """Run once, with an empty standard input, and compare."""
    os.makedirs(settings.run_folder, exist_ok=True)
    files: dict[str, bytes | None] = {}
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    out, err = (_temporary_file(settings.run_folder) for _ in range(2))
    start = time.monotonic()
    try:
        session = Session(settings, standard_files=(null, out, err), watched=False, gives_up=True)
        boxes: list[Container] = []

        def read_files() -> None:
            for path in check.get("files", {}) if boxes else ():
                files[path] = _read_in_container(boxes[0], settings.bundle, path)

        status = session.run(started=boxes.append, ended=read_files)
        seconds = time.monotonic() - start
        stdout, stderr = _content(out), _content(err)
    finally:
        for descriptor in (null, out, err):
            os.close(descriptor)
    problems = []
    if session.timed_out:
        problems.append(f"did not end within {settings.timeout:g} seconds")
    elif status != check.get("status", 0):
        problems.append(f"status: expected {check.get('status', 0)}, got {status}")
    if session.out_of_memory:
        problems.append("ran out of memory")
    for stream, text in (("stdout", stdout), ("stderr", stderr)):
        problems += compare(stream, check.get(stream, ()), text)
    for path, expected in check.get("files", {}).items():
        content = files.get(path)
        problems += (
            [f"{path}: no such file"] if content is None else compare(path, expected, content)
        )
    return CheckResult(
        name=settings.name,
        seconds=seconds,
        status=status,
        stdout=stdout,
        stderr=stderr,
        problems=problems,
    )


def compare(subject: str, expected: Expectation, content: bytes) -> list[str]:
    """What is missing from ``content``: texts that are contained, ``/…/`` are patterns.

    >>> compare("stdout", "Hello", b"Hello there")
    []
    >>> compare("stdout", "/^there/", b"Hello there")
    ['stdout: nothing matches /^there/ in: Hello there']
    """
    text = content.decode("utf-8", "replace")
    problems = []
    for each in _words(expected) or ():
        if len(each) > 2 and each.startswith("/") and each.endswith("/"):
            import re

            try:
                found = re.search(each[1:-1], text, re.MULTILINE) is not None
            except re.error as error:
                problems.append(f"{subject}: {each} is no pattern: {error}")
                continue
            if not found:
                problems.append(f"{subject}: nothing matches {each} in: {_shown(text)}")
        elif each not in text:
            problems.append(f"{subject}: {each!r} is not in: {_shown(text)}")
    return problems


def _words(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [value] if isinstance(value, str) else list(value)


def _shown(text: str) -> str:
    """A part of what was found, for people: a container has no business with their terminal."""
    text = text.rstrip("\n")
    if not text:
        return "(nothing)"
    if len(text) > SHOWN:
        text = f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
    plain = "".join(each if each in "\t\n" or each.isprintable() else "\ufffd" for each in text)
    return plain.replace("\n", "\n    ")


def _temporary_file(folder: str) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not every file system has them
        import tempfile

        descriptor, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        return descriptor


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, LARGEST, 0)


def _read_in_container(box: Container, bundle: str, path: str) -> bytes | None:
    """A file as the container left it; None where there is none that can be read."""
    persistent = box.path(f"persistent/{overlay.UPPER}")
    upper = persistent if os.path.isdir(persistent) else box.path(overlay.UPPER)
    place = overlay.find_in_layers((upper, box.path(overlay.MERGED), f"{bundle}/rootfs"), path)
    if place is None:
        return None
    try:
        with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as stream:
            return stream.read(LARGEST)
    except OSError:
        return None


def junit_xml(results: Sequence[CheckResult]) -> bytes:
    """The results as CI systems read them."""
    from xml.etree import ElementTree as Tree

    failures = sum(bool(result.problems) for result in results)
    seconds = sum(result.seconds for result in results)
    counts = {"tests": str(len(results)), "failures": str(failures), "time": f"{seconds:.3f}"}
    root = Tree.Element("testsuites", counts)
    suite = Tree.SubElement(root, "testsuite", {"name": "doit-oci", **counts})
    for result in results:
        case = Tree.SubElement(
            suite,
            "testcase",
            {"classname": "check", "name": result.name, "time": f"{result.seconds:.3f}"},
        )
        if result.problems:
            failure = Tree.SubElement(case, "failure", {"message": _xml(result.problems[0])})
            failure.text = _xml("\n".join(result.problems))
        for tag, content in (("system-out", result.stdout), ("system-err", result.stderr)):
            if content:
                Tree.SubElement(case, tag).text = _xml(content.decode("utf-8", "replace"))
    Tree.indent(root)
    return bytes(Tree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _xml(text: str) -> str:
    """XML 1.0 has no place for most control characters."""
    return "".join(each if _is_xml(each) else "\ufffd" for each in text)


def _is_xml(character: str) -> bool:
    return character in "\t\n" or " " <= character < "\ufffe" or character > "\uffff"
