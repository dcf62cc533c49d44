"""The health of containers that stay, asked for under real runtimes, by root and by users."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tasks import containers
from tasks.oci.healthcheck import SECOND
from tests.support.bundles import Bundle, wait_for

READY = "test -e /ready || { echo not yet; exit 1; }"


def watched(box: Bundle, script: str, args: list[str], **changes: Any) -> None:
    """Configure the bundle with a health check that is quick."""
    check = {
        "Test": ["CMD", "/bin/sh", "-c", script],
        "Interval": SECOND // 10,
        "Timeout": 5 * SECOND,
        "StartPeriod": 0,
        "StartInterval": SECOND // 10,
        "Retries": 2,
    } | changes
    box.configure(args, annotations={"doit-oci.healthcheck": json.dumps(check)})
    box.give_away()


def health(box: Bundle) -> dict[str, Any]:
    (found,) = containers.list_containers(box.run_dir)
    assert found.health is not None
    return found.health


def become(box: Bundle, status: str) -> dict[str, Any]:
    return dict(wait_for(lambda: (found := health(box))["status"] == status and found))


def do(box: Bundle, script: str) -> None:
    """Run a command in the container as whoever runs it."""
    words = {"run_dir": str(box.run_dir), "name": "box", "args": ["sh", "-c", script]}
    done = box.call("tasks.containers", "exec_in", **words)
    assert done.returncode == 0, done.stderr


def test_health_follows_what_the_container_does(anyone: Bundle, runtime: str) -> None:
    watched(anyone, READY, ["sh", "-c", "sleep 1000"])
    done = anyone.run(runtime=runtime, detach=True)
    assert done.returncode == 0, done.stderr
    assert health(anyone)["status"] in ("starting", "unhealthy")
    found = become(anyone, "unhealthy")
    assert found["failingStreak"] >= 2
    assert (found["log"][-1]["exitStatus"], found["log"][-1]["output"]) == (1, "not yet\n")
    do(anyone, "touch /ready")
    found = become(anyone, "healthy")
    assert (found["failingStreak"], found["log"][-1]["exitStatus"]) == (0, 0)
    assert "running (healthy)" in containers.containers_text(
        containers.list_containers(anyone.run_dir)
    )
    do(anyone, "rm /ready")
    assert len(become(anyone, "unhealthy")["log"]) <= 5
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def test_wait_returns_when_it_is_healthy(anyone: Bundle, runtime: str) -> None:
    watched(anyone, READY, ["sh", "-c", "sleep 0.5; touch /ready; sleep 1000"], Retries=1000)
    done = anyone.run(runtime=runtime, wait=True)
    assert done.returncode == 0, done.stderr
    assert health(anyone)["status"] == "healthy"
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)


def test_wait_says_why_it_is_not(box: Bundle) -> None:
    watched(box, READY, ["sleep", "1000"])
    done = box.run(wait=True)
    assert done.returncode == 1
    assert b"box: is unhealthy: the last probe ended with 1: not yet" in done.stderr
    assert containers.list_containers(box.run_dir)[0].status == "running"
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)


def test_wait_says_that_it_ended(box: Bundle) -> None:
    watched(box, READY, ["sh", "-c", "sleep 0.3; exit 7"], Retries=1000)
    done = box.run(wait=True)
    assert done.returncode == 1
    assert b"ended with status 7 before it was healthy" in done.stderr


def test_wait_without_a_health_check_is_detach(box: Bundle) -> None:
    assert box.run("sleep", "1000", wait=True).returncode == 0
    assert containers.list_containers(box.run_dir)[0].health is None
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)
    assert box.run("false", wait=True).returncode == 0, "however soon it ends"


def test_a_probe_that_hangs_is_killed(anyone: Bundle, runtime: str) -> None:
    watched(anyone, "sh -c 'sleep 999 & sleep 999'", ["sleep", "1000"], Timeout=SECOND // 4)
    assert anyone.run(runtime=runtime, detach=True).returncode == 0
    found = become(anyone, "unhealthy")
    assert found["log"][-1]["exitStatus"] == -1
    assert found["log"][-1]["output"] == "took longer than 0.25 seconds"
    time.sleep(1)
    hanging = [line for _, line in anyone.processes() if "sleep 999" in line]
    assert len(hanging) <= 6, "those of one probe, not of all so far"
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def test_failures_do_not_count_while_it_starts(box: Bundle) -> None:
    watched(box, READY, ["sleep", "1000"], StartPeriod=3600 * SECOND, Interval=3600 * SECOND)
    assert box.run(detach=True).returncode == 0
    wait_for(lambda: len(health(box)["log"]) == 4)
    assert (health(box)["status"], health(box)["failingStreak"]) == ("starting", 0)
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)


def test_a_paused_container_is_not_asked(box: Bundle, runtime: str) -> None:
    watched(box, "true", ["sleep", "1000"])
    assert box.run(runtime=runtime, detach=True).returncode == 0
    become(box, "healthy")
    containers.pause_container(run_dir=box.run_dir, name="box")
    before = wait_for(lambda: unchanged_log(box))
    containers.resume_container(run_dir=box.run_dir, name="box")
    wait_for(lambda: health(box)["log"] != before)
    assert health(box)["status"] == "healthy"
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)


def unchanged_log(box: Bundle) -> list[Any]:
    """The answers so far, or nothing if one came within four intervals: a last one was on its way."""
    found: list[Any] = health(box)["log"]
    time.sleep(0.4)
    return found if health(box)["log"] == found else []


def test_an_answer_that_cannot_be_written_is_not_the_last(box: Bundle) -> None:
    watched(box, READY, ["sleep", "1000"])
    assert box.run(detach=True).returncode == 0
    become(box, "unhealthy")
    in_the_way = record(box).with_name("health.json.new")
    wait_for(lambda: made_folder(in_the_way))
    do(box, "touch /ready")
    before = health(box)
    time.sleep(0.5)
    assert health(box) == before
    in_the_way.rmdir()
    become(box, "healthy")
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)
    box.assert_nothing_left()


def made_folder(path: Path) -> bool:
    """Whether it could be made: for a moment a file may have the name."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def test_a_run_in_the_foreground_is_asked_too(anyone: Bundle, runtime: str) -> None:
    twice = "touch /asked; until [ $(wc -l </asked) -ge 2 ]; do sleep 0.05; done; exit 3"
    watched(anyone, "echo asked >> /asked", ["sh", "-c", twice])
    assert anyone.run(runtime=runtime).returncode == 3
    anyone.assert_nothing_left()


@pytest.mark.parametrize("way", ["detached", "in the foreground"])
def test_nothing_outlives_a_killed_supervisor(box: Bundle, way: str) -> None:
    watched(box, "sleep 999", ["sleep", "1000"])
    if way == "detached":
        assert box.run(detach=True).returncode == 0
        become(box, "starting")
        supervisor = json.loads(record(box).read_text())["supervisor"]
        wait_for(lambda: any("sleep 999" in line for _, line in box.processes()))
        os.kill(supervisor, signal.SIGKILL)
    else:
        with box.start() as process:
            wait_for(lambda: any("sleep 999" in line for _, line in box.processes()))
            process.kill()
    wait_for(lambda: not box.processes())
    containers.list_containers(box.run_dir)
    box.assert_nothing_left()


def children(process: int) -> set[int]:
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return set()
    return {int(word) for word in text.split()}


def watcher(box: Bundle) -> int:
    """The process that asks: the supervisor's child that is neither the run's nor above it; or 0."""
    found = json.loads(record(box).read_text())
    run = found["process"]
    watchers = [
        each for each in children(found["supervisor"]) if run != each and run not in children(each)
    ]
    return watchers[0] if watchers else 0


def test_a_killed_watch_is_taken_up(anyone: Bundle, runtime: str) -> None:
    watched(anyone, READY, ["sh", "-c", "sleep 1000"])
    assert anyone.run(runtime=runtime, detach=True).returncode == 0
    before = become(anyone, "unhealthy")
    first = wait_for(lambda: watcher(anyone))
    os.kill(first, signal.SIGKILL)
    second = wait_for(lambda: (found := watcher(anyone)) != first and found)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: watcher(anyone) not in (0, second))
    assert health(anyone)["failingStreak"] >= before["failingStreak"], "it goes on counting"
    do(anyone, "touch /ready")
    become(anyone, "healthy")
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def test_wait_goes_on_with_another_watch(box: Bundle) -> None:
    watched(box, READY, ["sh", "-c", "sleep 2; touch /ready; sleep 1000"], Retries=1000)
    with box.start(wait=True) as process:
        wait_for(lambda: list((box.run_dir / "containers").glob("*/health.json")))
        os.kill(wait_for(lambda: watcher(box)), signal.SIGKILL)
        assert process.wait(60) == 0
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)


def test_wait_says_that_the_supervisor_was_killed(box: Bundle) -> None:
    watched(box, READY, ["sleep", "1000"], Retries=1000)
    with box.start(wait=True) as process:
        wait_for(lambda: list((box.run_dir / "containers").glob("*/health.json")))
        os.kill(json.loads(record(box).read_text())["supervisor"], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    # Who waits may not have heard yet that it started.
    assert re.search(rb"was killed before it was healthy|ended before the container had", said), (
        said
    )
    containers.list_containers(box.run_dir)
    box.assert_nothing_left()


def record(box: Bundle) -> Path:
    (found,) = (box.run_dir / "containers").glob("*/container.json")
    return found


def test_what_is_no_health_check_is_said(box: Bundle) -> None:
    box.configure(["true"], annotations={"doit-oci.healthcheck": '{"Test": "x"}'})
    done = box.run()
    assert done.returncode == 1
    assert b"box: annotation doit-oci.healthcheck: no health check" in done.stderr
