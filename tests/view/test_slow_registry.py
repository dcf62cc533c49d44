"""A download that takes its time, watched at a terminal, in a log, and broken off."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from ..support.command import CHECKOUT, DOOR
from ..support.fake_registry import FakeRegistry, Handler, running_fake
from ..support.images import make_image
from .layouts import tree
from .test_progress import ESCAPES

PIECES = 12
LAYER = tree({"data": random.Random(7).randbytes(3_000_000)})


@pytest.fixture
def slow() -> Iterator[FakeRegistry]:
    with running_fake() as fake:
        fake.add(make_image(LAYER))
        yield fake


@pytest.fixture
def project(tmp_path: Path, slow: FakeRegistry) -> Path:
    def trickle(handler: Handler) -> None:
        body = slow.blobs[handler.path.rsplit("/", 1)[1]]
        handler.answer(200, b"", length=len(body))
        for number in range(PIECES):
            size = len(body) // PIECES + 1
            handler.wfile.write(body[number * size : (number + 1) * size])
            time.sleep(0.12 if len(body) > 1000 else 0)

    slow.always("blobs", trickle)
    (tmp_path / "images.toml").write_text(
        f'[defaults]\nplatform = "linux/amd64"\n\n[images.big]\nimage = "{slow.host}/big:1"\n\n'
        f'[[registry]]\nprefix = "{slow.host}"\ninsecure = true\n'
    )
    return tmp_path


def spawn(project: Path, *words: str) -> Any:
    environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    return pexpect.spawn(
        sys.executable,
        ["-c", DOOR, *words],
        cwd=project,
        env={**environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm-256color"},
        dimensions=(24, 120),
        encoding="utf-8",
        timeout=60,
    )


def test_a_download_has_a_bar_and_the_end_its_sums(project: Path) -> None:
    child = spawn(project, "bundle:big")
    child.expect(pexpect.EOF)
    child.close()
    sent = ESCAPES.sub("", child.before)
    assert child.exitstatus == 0, sent
    assert re.search(r"fetch [0-9a-f]{12} .*\d\.\d/3\.0 MB .*MB/s", sent)
    assert re.search(r"\.  blob:sha256:[0-9a-f]{12}  [1-9]\d*\.\d s  it is not in the store", sent)
    assert re.search(r"done in \d+\.\d s: 5 steps, fetched 3\.0 MB in 1 blob", sent)


def test_ctrl_c_takes_the_bars_away_and_ends_with_130(project: Path) -> None:
    child = spawn(project, "bundle:big")
    child.expect("fetch")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in child.before
    assert child.before.rpartition("fetch")[2].rstrip("\r").endswith("\x1b[2K"), child.before


def test_a_log_has_no_bars(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DOOR, "bundle:big"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert "\x1b" not in done.stderr
    assert [line[:3] for line in done.stderr.splitlines()] == [".  "] * 5 + ["don"]
