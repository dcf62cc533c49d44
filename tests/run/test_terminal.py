"""A terminal driven through a pty: size, changes of it, raw mode and what is left of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from pathlib import Path

import pytest

from tasks.containers import delete_container
from tasks.store.runtime.stale import remove_stale
from tests.support.bundles import Bundle, Process, await_size, wait_for

FIRST_LINE = b"%b\r"
"""Without its line feed: runc starts a program before it has set the program's terminal, so that
what is written at once may end in CR CR LF."""


class Screen:
    """A run on a terminal of its own."""

    def __init__(self, box: Bundle, *args: str, **settings: object) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(40, 100)
        self.mode = termios.tcgetattr(theirs)
        files = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process: Process = box.start(
            *args, files={**files, "preexec_fn": own_terminal}, **settings
        )
        self.theirs = theirs
        self.text = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, wanted: bytes) -> bytes:
        """All that was shown up to and with ``wanted``."""
        deadline = time.monotonic() + 60
        while wanted not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.ours], [], [], 0.1)[0]:
                self.text += os.read(self.ours, 65536)
        shown, self.text = self.text.split(wanted, 1)
        return shown + wanted

    def rest(self) -> bytes:
        """What else was shown by now."""
        while select.select([self.ours], [], [], 0)[0]:
            self.text += os.read(self.ours, 65536)
        return self.text

    def type(self, text: bytes) -> None:
        os.write(self.ours, text)

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.mode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def screen(anyone: Bundle, runtime: str):
    opened = []

    def open_screen(*args: str, **settings: object) -> Screen:
        opened.append(Screen(anyone, *args, runtime=runtime, **settings))
        return opened[-1]

    yield open_screen
    for each in opened:
        each.close()
    remove_stale(str(anyone.run_dir))


def test_the_container_has_our_size_and_follows_it(screen) -> None:
    script = (
        f"tty; {await_size(40, 100)}; echo first; read x; "
        f"{await_size(50, 120)}; echo second; read y; echo $x$y; exit 6"
    )
    shown = screen("sh", "-c", script)
    assert b"/dev/" in shown.read_until(FIRST_LINE % b"first")
    shown.type(b"a\r")
    shown.resize(50, 120)
    shown.read_until(b"second\r\n")
    shown.type(b"b\r")
    shown.read_until(b"ab\r\n")
    assert shown.process.wait(20) == 6
    assert shown.is_restored()


def test_keys_go_to_the_container_and_not_to_us(screen) -> None:
    shown = screen(
        "sh", "-c", "trap 'echo interrupted; exit 7' INT; echo up; while :; do sleep 0.05; done"
    )
    shown.read_until(FIRST_LINE % b"up")
    assert not shown.is_restored()
    shown.type(b"\x03")
    shown.read_until(b"interrupted\r\n")
    assert shown.process.wait(20) == 7
    assert shown.is_restored()


def test_exec_has_a_terminal_of_its_own(screen, anyone: Bundle, runtime: str) -> None:
    done = anyone.run("sleep", "1000", runtime=runtime, detach=True)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tasks.containers import exec_in; "
        "sys.exit(exec_in(run_dir=sys.argv[2], name='box', args=sys.argv[3:]))"
    )
    checkout = str(Path(__file__).resolve().parents[2])
    script = (
        f"tty; {await_size(40, 100)}; echo first; read x; "
        f"{await_size(50, 120)}; echo second; read y; echo $x$y; exit 6"
    )
    words = [checkout, str(anyone.run_dir), "sh", "-c", script]
    try:
        shown = screen(command=[*anyone.command()[:1], "-c", code, *words])
        assert b"/dev/pts/" in shown.read_until(FIRST_LINE % b"first")
        assert not shown.is_restored()
        shown.type(b"a\r")
        shown.resize(50, 120)
        shown.read_until(b"second\r\n")
        shown.type(b"b\r")
        shown.read_until(b"ab\r\n")
        assert shown.process.wait(20) == 6
        assert shown.is_restored()
    finally:
        delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def test_a_killed_runtime_leaves_the_terminal_as_it_was(
    screen, anyone: Bundle, runtime: str
) -> None:
    shown = screen("sh", "-c", "echo up; sleep 1000")
    shown.read_until(FIRST_LINE % b"up")
    wait_for(lambda: not shown.is_restored())
    for number, line in anyone.processes():
        if line.split()[0].endswith(f"/{runtime}"):
            os.kill(number, signal.SIGKILL)
    assert shown.process.wait(20) == 137
    assert shown.is_restored()


def test_a_run_outlives_the_process_that_keeps_the_terminals_mode(screen) -> None:
    shown = screen("sh", "-c", "echo up; read x; exit 6")
    shown.read_until(FIRST_LINE % b"up")
    keepers = [each for each in _children(shown.process.pid) if os.getsid(each) == each]
    assert len(keepers) == 1
    os.kill(keepers[0], signal.SIGKILL)
    shown.type(b"\r")
    assert shown.process.wait(20) == 6
    assert shown.is_restored()
    assert b"Traceback" not in shown.rest()


def test_all_of_ours_killed_leave_the_terminal_as_it_was(screen, anyone: Bundle) -> None:
    shown = screen("sh", "-c", "echo up; sleep 1000")
    shown.read_until(FIRST_LINE % b"up")
    wait_for(lambda: not shown.is_restored())
    os.killpg(shown.process.pid, signal.SIGKILL)
    assert shown.process.wait(20) == -signal.SIGKILL
    wait_for(shown.is_restored)
    wait_for(lambda: not anyone.processes())


def test_without_a_terminal_there_is_none(box: Bundle) -> None:
    assert box.run("tty").stdout == b"not a tty\n"


def test_a_declared_terminal_is_there_without_ours(box: Bundle, runtime: str) -> None:
    done = box.run("sh", "-c", "tty && cat", runtime=runtime, tty=True, stdin=b"typed\n")
    assert done.returncode == 0, done.stderr
    assert FIRST_LINE % b"/dev/pts/0" in done.stdout
    assert FIRST_LINE % b"typed" in done.stdout


def test_output_to_our_terminal_without_one_for_the_container(screen) -> None:
    shown = screen("sh", "-c", "echo done", tty=False)
    shown.read_until(b"done")
    assert shown.process.wait(20) == 0


def test_interrupts_from_the_terminal_arrive_once_and_the_second_kills(screen) -> None:
    script = "trap 'echo got' INT; echo up; while :; do sleep 0.05; done"
    shown = screen("sh", "-c", script, tty=False)
    shown.read_until(FIRST_LINE % b"up")
    shown.type(b"\x03")
    shown.read_until(b"got\r\n")
    # Two that are not yet taken are one for the kernel: we may still be busy with the start.
    wait_for(lambda: not _is_pending(shown.process.pid, signal.SIGINT))
    shown.type(b"\x03")
    assert shown.process.wait(20) == 137
    assert shown.rest().count(b"got") <= 1


def _is_pending(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_hangup_that_our_caller_ignores_ends_nothing(box: Bundle, runtime: str) -> None:
    def as_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    files = {"preexec_fn": as_nohup}
    with box.start("sh", "-c", "echo up; cat", runtime=runtime, files=files) as process:
        assert process.stdout.readline() == b"up\n"
        for number in (process.pid, *_children(process.pid)):
            os.kill(number, signal.SIGHUP)
        out, _ = process.communicate(b"still here", timeout=60)
        assert (out, process.returncode) == (b"still here", 0)


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def test_an_early_interrupt_reaches_the_container(screen) -> None:
    """Whoever else is in the terminal's foreground then must not end of it."""
    script = "trap 'echo got; exit 8' INT; echo up; while :; do sleep 0.02; done"
    for _ in range(5):
        shown = screen("sh", "-c", script, tty=False)
        shown.read_until(FIRST_LINE % b"up")
        shown.type(b"\x03")
        assert shown.process.wait(20) == 8
        assert shown.rest().count(b"got\r\n") == 1
