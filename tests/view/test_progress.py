"""What people see while work is done: at a terminal, a narrow one, a dumb one, and in a log."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pexpect
import pytest

from tasks.figures import size_text, time_text
from tasks.view.console import Console
from tasks.view.display import log_text
from tasks.view.events import Events, Item

from ..support.command import CHECKOUT, DOOR

WORK = textwrap.dedent("""
    import sys, time
    from tasks.view.console import open_events
    from tasks.view.display import Display
    from tasks.project.plan import Options

    events = open_events(Options(quiet="quiet" in sys.argv), None)
    step = events.start("step", "rootfs:big", why="the top layer changed")
    blob = events.start("blob", "a2807c839107", 40_000_000)
    layer = events.start("layer", "sha256:" + "b" * 64, 10_000_000)
    for _ in range(12):
        time.sleep(0.1)
        events.advance(blob, 3_000_000)
        events.advance(layer, 500_000)
        if _ == 8:
            events.note("mirror is slow")
    events.finish(blob)
    events.finish(layer)
    events.finish(step)
    run = events.start("step", "run:big")
    print("CONTAINER", flush=True)
    events.finish(run)
    events.close(0)
""")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOURS = re.compile(r"\x1b\[[0-9;]+m")
LINE_OVER = "\x1b[1A"


def at_terminal(columns: int = 120, words: list[str] = [], **env: str) -> str:
    """What a terminal of that width is sent."""
    environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "CI")}
    child = pexpect.spawn(
        sys.executable,
        ["-c", WORK, *words],
        env={**environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm-256color", **env},
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert isinstance(child.before, str)
    return child.before


def test_a_terminal_shows_bars_with_bytes_speed_and_time_left() -> None:
    sent = at_terminal()
    plain = ESCAPES.sub("", sent)
    assert re.search(r"fetch a2807c839107 .*\d+\.\d/40\.0 MB .*MB/s .*\d:\d\d", plain)
    assert re.search(r"unpack b{12} .*/10\.0 MB", plain)
    assert LINE_OVER in sent
    assert "note: mirror is slow" in plain
    assert re.search(r"\.  rootfs:big  \d\.\d s  the top layer changed", plain)
    assert re.search(
        r"done in \d\.\d s: 1 step, fetched 36\.0 MB in 1 blob, unpacked 6\.0 MB of 1 layer", plain
    )


def test_nothing_is_drawn_once_the_container_has_the_terminal() -> None:
    sent = at_terminal()
    before, after = sent.split("CONTAINER")
    assert LINE_OVER in before
    assert after.strip() == ""


def test_the_cursor_is_never_hidden() -> None:
    assert "\x1b[?25l" not in at_terminal()


def test_no_color_draws_without_colours() -> None:
    assert COLOURS.search(at_terminal())
    sent = at_terminal(NO_COLOR="1")
    assert LINE_OVER in sent
    assert not [code for code in COLOURS.findall(sent) if code not in ("\x1b[0m", "\x1b[1m")]


@pytest.mark.parametrize("columns", [30, 50, 70])
def test_lines_fit_a_narrow_terminal(columns: int) -> None:
    shown = ESCAPES.sub("", at_terminal(columns)).replace("\r", "\n").split("\n")
    bars = [line for line in shown if line.startswith(("fetch", "unpack", ".  "))]
    assert bars
    assert max(len(line) for line in bars) <= columns
    assert any("%" in line or "MB" in line for line in bars)


def test_a_dumb_terminal_is_a_log() -> None:
    sent = at_terminal(TERM="dumb")
    assert "\x1b" not in sent
    assert ".  rootfs:big" in sent


def test_quiet_says_nothing() -> None:
    assert at_terminal(words=["quiet"]).strip() == "CONTAINER"


def test_a_log_gets_a_line_every_few_seconds() -> None:
    sooner = "tasks.view.display.Display.__init__.__kwdefaults__['interval'] = 0.6"
    script = WORK.replace("events = ", f"import tasks.view.display; {sooner}; events = ")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("…")]
    assert 1 <= len(lines) <= 3
    assert re.match(r"…  fetching 1 blob: \d+\.\d MB of 40\.0 MB, \d+\.\d MB/s, about ", lines[0])
    assert "unpacking 1 layer" in lines[0]


def test_a_second_build_at_a_terminal_prints_nothing_and_loads_no_rich(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    door = DOOR.replace(
        "sys.exit(main())",
        "main(); print('rich' in sys.modules, 'tasks.view.display' in sys.modules)",
    )
    sent = []
    for _ in range(2):
        child = pexpect.spawn(
            sys.executable,
            ["-c", door, "bundle:hello-world"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm"},
            encoding="utf-8",
            timeout=60,
        )
        child.expect(pexpect.EOF)
        sent.append(str(child.before))
    assert "bundle:hello-world" in sent[0]
    assert sent[1].split() == ["False", "False"]


def test_the_words_of_a_log_line() -> None:
    items = [Item(1, "blob", "a", 10_000_000, 0.0), Item(2, "layer", "b", None, 0.0)]
    items[0].done, items[1].done = 2_000_000, 500
    assert log_text(items, 2.0) == (
        "…  fetching 1 blob: 2.0 MB of 10.0 MB, 1.0 MB/s, about 8.0 s left; "
        "unpacking 1 layer: 500 B, 250 B/s"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1.0 MB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.9999, "1.0 s"),
        (59.97, "1 min 0 s"),
        (59.94, "59.9 s"),
        (7199.9, "2 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_a_warm_run_loads_nothing_that_looks(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.hello-world]\nimage = "builtin:hello-world"\n')
    door = DOOR.replace("sys.exit(main())", "main(); print('LOADED', *sorted(sys.modules))")
    command = [sys.executable, "-c", door, "run:hello-world"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for _ in range(3):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
        loaded = set(done.stdout.decode().partition("LOADED ")[2].split())
        time.sleep(0.1)
    assert "tasks.run" in loaded
    looking = ("events", "console", "display", "live_view", "why", "reason", "diff", "report")
    assert not loaded & {f"tasks.{name}" for name in looking}
    assert not loaded & {"rich", "doit", "tasks.view.picture", "tasks.commands"}


def test_a_terminal_that_goes_away_does_not_end_the_work(tmp_path: Path) -> None:
    done = tmp_path / "done"
    script = WORK.replace("events.close(0)", f"events.close(0); open({str(done)!r}, 'w').close()")
    script = script.replace("import sys, time", "import signal, sys, time; signal.signal(1, 1)")
    child = pexpect.spawn(
        sys.executable,
        ["-c", script.replace('print("CONTAINER", flush=True)', "")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm"},
        encoding="utf-8",
        timeout=60,
    )
    child.expect("fetch")
    os.close(child.fileno())
    for _ in range(600):
        if done.exists():
            break
        time.sleep(0.1)
    assert done.exists()


def test_a_pause_leaves_no_thread() -> None:
    """So that whoever does the work may fork."""

    def is_looking() -> bool:
        return "display" in [thread.name for thread in threading.enumerate()]

    console = Console(io.StringIO(), {})
    console.events = events = Events([console])
    events.start("step", "rootfs:a")
    assert is_looking()
    resume = events.pause()
    assert not is_looking()
    resume()
    assert is_looking()
    events.close(0)
    assert not is_looking()
    events.pause()()
    assert not is_looking()
