"""Signals that end a command: 128 and the number, nothing left behind, wherever it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.bundles import wait_for
from tests.support.layout import busybox_layer, write_layout

from ..support.command import CHECKOUT, doit_oci, expect, start_doit_oci, start_patched

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STUCK = """
import tasks.step, time
def perform(work, progress):
    print("begun", flush=True)
    time.sleep(60)
tasks.step.perform = perform
"""
HELLO = '[images.hello-world]\nimage = "builtin:hello-world"\n'


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("words", ["bundle:hello-world", "bundle", "-n 2 bundle"])
def test_a_signal_ends_a_build(tmp_path: Path, words: str, number: signal.Signals) -> None:
    (tmp_path / "images.toml").write_text(HELLO)
    with start_patched(tmp_path, STUCK, *words.split()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    expect(doit_oci(tmp_path, "bundle"))


def test_what_the_caller_ignores_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text(HELLO)
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with start_patched(tmp_path, ignore + STUCK, "bundle:hello-world") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_a_thread_leaves_signals_alone(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text(HELLO)
    code = (
        "import threading\nfrom tasks.cli import main\nfound = []\n"
        "one = threading.Thread(target=lambda: found.append(main(['bundle:hello-world'])))\n"
        "one.start()\none.join()\nraise SystemExit(found[0])\n"
    )
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    expect(done)


@pytest.mark.parametrize("number", [*ENDING, signal.SIGQUIT])
def test_a_signal_ends_a_check_of_what_does_not_listen(
    tmp_path: Path, number: signal.Signals
) -> None:
    layout = write_layout(tmp_path / "image", busybox_layer())
    (tmp_path / "images.toml").write_text(
        f'[images.bb]\nimage = "oci:{layout}:latest"\n'
        '[bundles.deaf]\nimage = "bb"\ncommand = ["sleep", "1000"]\n[bundles.deaf.check]\n'
    )
    expect(doit_oci(tmp_path, "bundle:deaf"))
    with start_doit_oci(tmp_path, "check:deaf") as process:
        containers = tmp_path / "build/run/containers"
        wait_for(lambda: list(containers.glob("*/container.json")))
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not list(containers.iterdir())
