"""Containers that go on by themselves, and what can be done with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import containers
from tasks.errors import RuntimeFailed
from tasks.store.runtime import log_file
from tests.support.bundles import Bundle, wait_for

COUNT = "i=0; while :; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.05; done"


def _detach(box: Bundle, *args: str, **settings: object) -> str:
    done = box.run(*args, detach=True, **settings)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode().split()[-1]


def _logs(box: Bundle, tmp_path: Path, *, follow: bool) -> tuple[bytes, bytes]:
    paths = [tmp_path / "out", tmp_path / "err"]
    files = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    containers.write_logs(
        run_dir=box.run_dir, name="box", follow=follow, outputs=(files[0], files[1])
    )
    for file in files:
        os.close(file)
    return paths[0].read_bytes(), paths[1].read_bytes()


def test_a_detached_container_from_start_to_end(box: Bundle, runtime: str, tmp_path: Path) -> None:
    identifier = _detach(box, "sh", "-c", COUNT, runtime=runtime)
    (found,) = containers.list_containers(box.run_dir)
    assert (found.identifier, found.status, found.exit_status) == (identifier, "running", None)
    wait_for(lambda: b"out 1" in _logs(box, tmp_path, follow=False)[0])
    with pytest.raises(RuntimeFailed, match="still running"):
        containers.delete_container(run_dir=box.run_dir, name="box")
    containers.kill_container(run_dir=box.run_dir, name="box")
    (found,) = containers.list_containers(box.run_dir)
    assert (found.status, found.exit_status) == ("exited", 137)
    out, err = _logs(box, tmp_path, follow=True)
    assert out.startswith(b"out 0\nout 1\n")
    assert err.startswith(b"err 0\nerr 1\n")
    containers.delete_container(run_dir=box.run_dir, name="box")
    box.assert_nothing_left()


@pytest.mark.parametrize("whom", ["exec", "the process between"])
def test_what_a_killed_exec_started_ends(anyone: Bundle, runtime: str, whom: str) -> None:
    _detach(anyone, "sleep", "1000", runtime=runtime)
    words = {"run_dir": str(anyone.run_dir), "name": "box", "args": ["sleep", "999"]}
    with anyone.start(command=anyone.calling("tasks.containers", "exec_in", **words)) as process:
        wait_for(lambda: _has_process(anyone, "sleep 999"))
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(process.pid if whom == "exec" else int(path.read_text()), signal.SIGKILL)
        wait_for(lambda: not _has_process(anyone, "sleep 999"))
    assert _has_process(anyone, "sleep 1000")
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def _has_process(box: Bundle, line: str) -> bool:
    return any(each.startswith(line) for _, each in box.processes())


def test_output_comes_back_byte_for_byte(anyone: Bundle, runtime: str, tmp_path: Path) -> None:
    script = r"printf 'a\r\nno end'; sleep 0.1; printf ' yet\n\n\n\0\377'; exit 4"
    _detach(anyone, "sh", "-c", script, runtime=runtime)
    assert _logs(anyone, tmp_path, follow=True) == (b"a\r\nno end yet\n\n\n\0\377", b"")
    (found,) = containers.list_containers(anyone.run_dir)
    assert found.exit_status == 4


def test_a_log_is_followed_over_its_rotations(box: Bundle, tmp_path: Path) -> None:
    script = "for i in $(seq 1 400); do echo line $i; [ $((i % 40)) = 0 ] && sleep 0.1; done; :"
    log = {"rotate_at": 4000, "kept": 100}
    _detach(box, "sh", "-c", script, log=log)
    out, err = _logs(box, tmp_path, follow=True)
    assert out.decode() == "".join(f"line {i}\n" for i in range(1, 401))
    assert err == b""
    assert len(log_file.log_files(containers.list_containers(box.run_dir)[0].folder)) > 3


def test_stop_asks_first(box: Bundle, runtime: str, tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.02; done"
    _detach(box, "sh", "-c", script, runtime=runtime)
    wait_for(lambda: _logs(box, tmp_path, follow=False)[0])
    containers.stop_container(run_dir=box.run_dir, name="box")
    assert _logs(box, tmp_path, follow=True)[0] == b"ready\nbye\n"
    assert containers.list_containers(box.run_dir)[0].exit_status == 5


def test_stop_kills_what_does_not_listen(box: Bundle) -> None:
    _detach(box, "sleep", "1000", stop_grace=0.1)
    containers.stop_container(run_dir=box.run_dir, name="box")
    assert containers.list_containers(box.run_dir)[0].exit_status == 137


def test_pause_resume_and_stats(box: Bundle, runtime: str) -> None:
    _detach(box, "sh", "-c", COUNT, runtime=runtime)
    containers.pause_container(run_dir=box.run_dir, name="box")
    assert [each.status for each in containers.list_containers(box.run_dir)] == ["paused"]
    containers.resume_container(run_dir=box.run_dir, name="box")
    assert [each.status for each in containers.list_containers(box.run_dir)] == ["running"]
    figures = containers.container_stats(run_dir=box.run_dir, name="box")
    assert figures["processes"] in (1, 2)
    assert figures["memory"] > 0
    assert figures["cpuMicroseconds"] > 0
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)
    box.assert_nothing_left()


def test_a_paused_container_can_be_killed(box: Bundle, runtime: str) -> None:
    _detach(box, "sleep", "1000", runtime=runtime)
    containers.pause_container(run_dir=box.run_dir, name="box")
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)
    box.assert_nothing_left()


EXEC = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tasks.containers import exec_in
sys.exit(exec_in(**json.loads(sys.argv[2])))
"""


def test_exec_runs_beside_the_container(anyone: Bundle, runtime: str) -> None:
    _detach(anyone, "sh", "-c", "touch /mark; sleep 1000", runtime=runtime)
    checkout = str(Path(__file__).resolve().parents[2])
    script = "cat; until ls /mark 2>/dev/null; do :; done; echo $X; echo err >&2; exit 6"
    settings = {
        "run_dir": str(anyone.run_dir),
        "name": "box",
        "args": ["sh", "-c", script],
        "environment": ["X=A=b"],
    }
    user: dict[str, object] = {}
    python = sys.executable
    if anyone.user is not None:
        user = {"user": anyone.user.uid, "group": anyone.user.gid, "extra_groups": []}
        python = anyone.user._python()
    done = subprocess.run(
        [python, "-c", EXEC, checkout, json.dumps(settings)],
        input=b"piped\n",
        capture_output=True,
        cwd=anyone.project,
        timeout=30,
        check=False,
        **user,
    )
    assert (done.returncode, done.stderr) == (6, b"err\n")
    assert done.stdout == b"piped\n/mark\nA=b\n"
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)


ACCOUNTS = (
    "echo boss:x:0:0::/:/bin/sh >> /etc/passwd; echo app:x:7:8::/:/bin/sh >> /etc/passwd; "
    "echo staff:x:9: > /etc/group; echo more:x:10:app >> /etc/group; sleep 1000"
)


def exec_id(box: Bundle, user: str) -> Any:
    words = {"run_dir": str(box.run_dir), "name": "box", "args": ["id"], "user": user}
    return box.call("tasks.containers", "exec_in", **words)


def test_exec_as_a_user_that_the_container_made(anyone: Bundle, runtime: str) -> None:
    _detach(anyone, "sh", "-c", ACCOUNTS, runtime=runtime)
    wait_for(lambda: _has_process(anyone, "sleep 1000"))
    assert exec_id(anyone, "boss").stdout.startswith(b"uid=0")
    if anyone.user is None:
        said = [exec_id(anyone, user).stdout.split() for user in ("app", "app:staff", "7:1")]
        groups = [word for words in said for word in words]
        assert groups == [
            *(b"uid=7(app)", b"gid=8", b"groups=10(more)"),
            *(b"uid=7(app)", b"gid=9(staff)"),
            *(b"uid=7(app)", b"gid=1"),
        ]
    done = exec_id(anyone, "nobody")
    assert done.returncode == 1
    assert (
        b"does not know the user 'nobody': its /etc/passwd has no user of that name" in done.stderr
    )
    containers.delete_container(run_dir=anyone.run_dir, name="box", force=True)
    anyone.assert_nothing_left()


def test_a_container_that_cannot_start_is_not_kept(box: Bundle, runtime: str) -> None:
    done = box.run("nothing-of-that-name", runtime=runtime, detach=True)
    assert done.returncode == 1
    assert b"nothing-of-that-name" in done.stderr
    box.assert_nothing_left()


def test_several_of_one_bundle_and_the_newest_is_meant(box: Bundle) -> None:
    first, second = (_detach(box, "sleep", "1000") for _ in range(2))
    assert first != second
    assert containers.find_container(box.run_dir, "box", running=True).identifier == second
    assert containers.find_container(box.run_dir, first, running=True).identifier == first
    for identifier in (first, second):
        containers.delete_container(run_dir=box.run_dir, name=identifier, force=True)
    box.assert_nothing_left()


def test_a_killed_supervisor_takes_its_container_along(box: Bundle) -> None:
    _detach(box, "sleep", "1000")
    (found,) = containers.list_containers(box.run_dir)
    os.kill(found.record["supervisor"], 9)
    wait_for(lambda: not box.processes())
    # One that ends has no words any more a moment before it lets go of its lock.
    wait_for(lambda: not containers.list_containers(box.run_dir))
    box.assert_nothing_left()


@pytest.mark.parametrize("action", ["kill", "pause", "exec", "stats", "logs", "delete"])
def test_a_name_that_nobody_has(box: Bundle, action: str) -> None:
    place = {"run_dir": box.run_dir, "name": "nobody"}
    calls = {
        "kill": lambda: containers.kill_container(**place),
        "pause": lambda: containers.pause_container(**place),
        "exec": lambda: containers.exec_in(**place, args=["true"]),
        "stats": lambda: containers.container_stats(**place),
        "logs": lambda: containers.write_logs(**place),
        "delete": lambda: containers.delete_container(**place),
    }
    with pytest.raises(RuntimeFailed, match="nobody: no container of that name"):
        calls[action]()


def test_the_table_and_the_json_say_the_same(box: Bundle) -> None:
    identifier = _detach(box, "sh", "-c", "exit 3")
    wait_for(lambda: containers.list_containers(box.run_dir)[0].exit_status is not None)
    found = containers.list_containers(box.run_dir)
    assert json.loads(containers.containers_json(found))[0]["exitStatus"] == 3
    text = containers.containers_text(found)
    assert identifier in text
    assert "exited (3)" in text
