"""A run in a terminal multiplexer, as people have it on a server."""

from __future__ import annotations

import secrets
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.bundles import Bundle, wait_for
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

    def shows(self, text: str) -> bool:
        """Whether a line of the window is this text."""
        return text in self("capture-pane", "-p").splitlines()


@pytest.fixture
def tmux(box: Bundle, runtime: str) -> Iterator[Tmux]:
    script = "stty size; read x; stty size; read y; echo $x$y; exit 6"
    command = box.command(runtime=runtime, args=["sh", "-c", script], stop_grace=0.3)
    opened = Tmux(command, str(box.project))
    yield opened
    subprocess.run([*opened.words, "kill-server"], capture_output=True, check=False)


def test_a_window_that_changes_its_size_and_is_left_as_it_was(tmux: Tmux, box: Bundle) -> None:
    wait_for(lambda: tmux.shows("30 90"))
    tmux("resize-window", "-x", "70", "-y", "20")
    tmux("send-keys", "a", "Enter")
    wait_for(lambda: tmux.shows("20 70"))
    tmux("send-keys", "b", "Enter")
    wait_for(lambda: tmux.shows("ab"))
    wait_for(lambda: tmux.shows("status 6"))
    tmux("send-keys", "stty -a | grep -c ' icanon .* echo '", "Enter")
    wait_for(lambda: tmux.shows("1"))
    assert box.containers() == []


def test_a_closed_window_ends_the_container(tmux: Tmux, box: Bundle) -> None:
    wait_for(lambda: tmux.shows("30 90"))
    tmux("new-session", "-d", "-s", "other", "sh")
    tmux("kill-session", "-t", "0")
    wait_for(lambda: box.containers() == [])
    tmux("kill-server")
    box.assert_nothing_left()
