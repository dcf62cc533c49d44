"""A run in a terminal multiplexer, as people have it on a server."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.bundles import Bundle, await_size, wait_for
from tests.support.docker_registry import need


class Tmux:
    """A server with one window of 90 × 30."""

    def __init__(self, command: list[str], folder: str) -> None:
        self.words = [need("tmux"), "-L", f"doit-oci-{secrets.token_hex(4)}", "-f", "/dev/null"]
        self("new-session", "-d", "-x", "90", "-y", "30", "-c", folder, "sh")
        self("send-keys", f"{shlex.join(command)}; echo status $?", "Enter")

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def await_line(self, text: str) -> None:
        """Wait until a line of the window is this text."""
        deadline = time.monotonic() + 60
        while text not in lines(shown := self("capture-pane", "-p")):
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)


def lines(shown: str) -> list[str]:
    """The lines of a window; a slow shell prompts when the program already writes."""
    return [line.removeprefix("# ") for line in shown.splitlines()]


@pytest.fixture
def tmux(box: Bundle, runtime: str) -> Iterator[Tmux]:
    script = (
        f"{await_size(30, 90)}; echo first; read x; {await_size(20, 70)}; echo second; "
        "read y; echo $x$y; exit 6"
    )
    command = box.command(runtime=runtime, args=["sh", "-c", script], stop_grace=0.3)
    opened = Tmux(command, str(box.project))
    yield opened
    subprocess.run([*opened.words, "kill-server"], capture_output=True, check=False)


def test_a_window_that_changes_its_size_and_is_left_as_it_was(tmux: Tmux, box: Bundle) -> None:
    tmux.await_line("first")
    tmux("send-keys", "a", "Enter")
    tmux("resize-window", "-x", "70", "-y", "20")
    tmux.await_line("second")
    tmux("send-keys", "b", "Enter")
    tmux.await_line("ab")
    tmux.await_line("status 6")
    tmux("send-keys", "stty -a | grep -c ' icanon .* echo '", "Enter")
    tmux.await_line("1")
    assert box.containers() == []


def test_a_closed_window_ends_the_container(tmux: Tmux, box: Bundle) -> None:
    tmux.await_line("first")
    tmux("new-session", "-d", "-s", "other", "sh")
    tmux("kill-session", "-t", "0")
    wait_for(lambda: box.containers() == [])
    tmux("kill-server")
    box.assert_nothing_left()
