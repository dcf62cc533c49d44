"""What a run may use, and what it is told when it wants more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.containers import containers_text, delete_container, list_containers
from tests.support.bundles import Bundle, config_json, wait_for

BOMB = "i=0; while [ $i -lt 300 ]; do (sleep 5 &) || exit 42; i=$((i+1)); done"


def _with(resources: dict[str, object], network: bool = True) -> dict[str, object]:
    names = ("pid", "network", "ipc", "uts", "mount") if network else ("pid", "ipc", "mount")
    return {"resources": resources, "namespaces": [{"type": name} for name in names]}


def test_a_fork_bomb_stays_below_its_limit(box: Bundle, runtime: str) -> None:
    box.configure(["sh", "-c", BOMB], linux=_with({"pids": {"limit": 20}}))
    done = box.run(runtime=runtime)
    assert done.returncode != 0
    assert b"can't fork" in done.stderr
    box.assert_nothing_left()


def test_running_out_of_memory_is_said_in_words(box: Bundle, runtime: str) -> None:
    limit = {"memory": {"limit": 16_000_000, "swap": 16_000_000}}
    eater = "dd if=/dev/zero of=/dev/null bs=200000000 count=1"
    box.configure(["sh", "-c", f"exec {eater}"], linux=_with(limit))
    done = box.run(runtime=runtime)
    assert done.returncode == 137
    assert b"ran out of memory" in done.stderr
    box.assert_nothing_left()


def test_why_a_detached_container_was_ended_is_said(box: Bundle, runtime: str) -> None:
    limit = {"memory": {"limit": 16_000_000, "swap": 16_000_000}}
    box.configure(["tail", "/dev/zero"], linux=_with(limit))
    assert box.run(runtime=runtime, detach=True).returncode == 0
    assert "exited (137, out of memory)" in _ended(box)
    box.configure(["sleep", "1000"])
    assert box.run(runtime=runtime, detach=True, timeout=0.1, stop_grace=0.1).returncode == 0
    assert "exited (124, time limit)" in _ended(box)
    box.configure(["false"])
    assert box.run(runtime=runtime, detach=True).returncode == 0
    assert "exited (1)" in _ended(box)


def _ended(box: Bundle) -> str:
    """What ps says of the one container once it has ended, which is then removed."""
    (found,) = wait_for(
        lambda: [each for each in list_containers(box.run_dir) if each.exit_status is not None]
    )
    delete_container(run_dir=box.run_dir, name="box")
    return containers_text([found])


def test_enough_memory_is_not_commented(box: Bundle, runtime: str) -> None:
    box.configure(["sh", "-c", "exit 3"], linux=_with({"memory": {"limit": 64_000_000}}))
    done = box.run(runtime=runtime)
    assert (done.returncode, done.stderr) == (3, b"")


@pytest.fixture
def poor(users, place: Path) -> Bundle:
    """A bundle of a user to whom no control group is delegated, with a limit."""
    bundle = Bundle(place, users["subordinate ids"])
    bundle.configure(["echo", "ran"], linux=_with({"pids": {"limit": 20}}))
    return bundle


def test_a_limit_that_cannot_be_set_is_an_error(poor: Bundle, runtime: str) -> None:
    done = poor.run(runtime=runtime)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot limit pids" in done.stderr
    assert b"if-possible" in done.stderr


def test_a_limit_is_dropped_where_the_bundle_says_so(poor: Bundle, runtime: str) -> None:
    done = poor.run(runtime=runtime, cgroup_limits="if-possible")
    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert b"without limits on pids" in done.stderr


def test_no_network_has_a_loopback_that_is_up(anyone: Bundle, runtime: str) -> None:
    done = anyone.run("ip", "addr", runtime=runtime, network="none")
    assert b"127.0.0.1" in done.stdout
    assert b"\n2: " not in done.stdout


def test_names_of_a_container_without_a_network(anyone: Bundle, runtime: str) -> None:
    script = "cat /etc/hosts; echo 1.2.3.4 mine >> /etc/hosts; ls /etc"
    done = anyone.run("sh", "-c", script, runtime=runtime, network="none")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"127.0.0.1 localhost\n::1 localhost")
    assert done.stdout.endswith(b"127.0.1.1 box\nhosts\npasswd\n"), "and no resolv.conf"


@pytest.mark.parametrize("way", ["an own file", "a read-only root", "no etc"])
def test_names_that_the_bundle_has_stay(anyone: Bundle, runtime: str, way: str) -> None:
    hosts = anyone.rootfs / "etc/hosts"
    if way == "an own file":
        hosts.write_text("10.0.0.1 mine\n")
    elif way == "no etc":
        (anyone.rootfs / "etc/passwd").unlink()
        (anyone.rootfs / "etc").rmdir()
    else:
        anyone.configure(["true"], root={"path": "rootfs", "readonly": True})
    anyone.give_away()
    done = anyone.run("sh", "-c", "cat /etc/hosts", runtime=runtime, network="none")
    assert done.stdout == (b"10.0.0.1 mine\n" if way == "an own file" else b"")


def test_the_hosts_network_comes_with_its_names(anyone: Bundle, runtime: str) -> None:
    script = "cat /etc/resolv.conf; echo 1.2.3.4 mine >> /etc/hosts; cat /etc/hosts; ls /sys"
    hosts = Path("/etc/hosts").read_bytes()
    done = anyone.run("sh", "-c", script, runtime=runtime, network="host")
    assert done.returncode == 0, done.stderr
    assert Path("/etc/resolv.conf").read_bytes() in done.stdout
    assert b"127.0.1.1 box\n1.2.3.4 mine\n" in done.stdout
    assert Path("/etc/hosts").read_bytes() == hosts
    anyone.assert_nothing_left()


def test_ids_that_are_not_mapped_are_refused_in_words(users, place: Path) -> None:
    box = Bundle(place, users["a single id"])
    process = {**config_json(["true"])["process"], "user": {"uid": 1000, "gid": 1000}}
    box.configure(["true"], process=process)
    done = box.run()
    assert done.returncode == 1
    assert b"uid 1000" in done.stderr
    assert b"/etc/subuid" in done.stderr
