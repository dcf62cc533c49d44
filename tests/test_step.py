"""A step is done once, and its stamp never says more than the disk holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.project.step_key import step_key
from tasks.step import Step

PARTS = {"step": "x", "epoch": 1, "inputs": ["a"], "params": {}, "platform": "linux/amd64"}


class Work:
    """One file that counts how often it was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.parts: dict[str, Any] = dict(PARTS)
        self.times = 0
        self.fails = False

    def do(self) -> Mapping[str, Any]:
        self.times += 1
        if self.fails:
            raise OSError("no")
        self.output.write_text("done")
        return {"times": self.times}

    def step(self) -> Step:
        return Step(
            step="x",
            name="n",
            stamp=self.folder / "stamps/n.json",
            guarded=self.folder / "locks/n",
            parts=lambda: self.parts,
            stands=lambda _: self.output.exists(),
            work=self.do,
        )


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_the_second_time_nothing_is_done(work: Work) -> None:
    assert not work.step().is_current()
    work.step().perform()
    assert work.step().is_current()
    assert work.step().perform() == {"times": 1}
    assert work.times == 1


@pytest.mark.parametrize("change", ["inputs", "epoch", "platform", "params"])
def test_another_key_part_means_another_output(work: Work, change: str) -> None:
    work.step().perform()
    work.parts[change] = "other"
    assert not work.step().is_current()
    work.step().perform()
    assert work.times == 2


def test_a_missing_output_is_made_anew(work: Work) -> None:
    work.step().perform()
    work.output.unlink()
    assert not work.step().is_current()
    assert work.step().perform() == {"times": 2}


def test_failed_work_leaves_no_stamp(work: Work) -> None:
    work.step().perform()
    work.parts["epoch"] = 2
    work.fails = True
    with pytest.raises(OSError, match="no"):
        work.step().perform()
    assert not (work.folder / "stamps/n.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}', "\0"])
def test_a_damaged_stamp_counts_as_none(work: Work, content: str) -> None:
    work.step().perform()
    (work.folder / "stamps/n.json").write_text(content)
    assert not work.step().is_current()
    work.step().perform()
    assert json.loads((work.folder / "stamps/n.json").read_text())["parts"] == PARTS


def test_many_at_once_do_it_once(work: Work) -> None:
    threads = [threading.Thread(target=lambda: work.step().perform()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.times == 1


def test_the_key_is_golden() -> None:
    assert step_key(PARTS) == "01b33c8e12721c20cf0f34cd45217c5fabad1655ee200a637096a90c58032a85"


def test_what_another_process_did_meanwhile_is_told_as_reused(work: Work) -> None:
    waiting = work.step()
    first = work.step()
    first.perform()
    assert not first.stood
    waiting.perform()
    assert waiting.stood
    assert work.times == 1
