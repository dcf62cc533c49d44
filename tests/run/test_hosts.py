"""Hosts that are not like this one, each in a mount namespace of its own, with real mounts."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from tasks import containers
from tests.support.bundles import NAMESPACES, Bundle, wait_for
from tests.support.docker_registry import need

GROUPS = {
    "version 1 alone": "umount /sys/fs/cgroup/unified",
    "version 2 alone": "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
    "no control groups": "umount -R /sys/fs/cgroup",
}
UNIFIED = Path("/sys/fs/cgroup/unified")
WRITE = "echo new > /etc/new; rm /etc/passwd; cat /etc/new; exit 4"


def open_device(box: Bundle, name: str, numbers: str) -> str:
    """Commands that give everybody this device, as udev does."""
    place = box.project.parent / name.replace("/", "-")
    return (
        f"mknod -m 666 {place} c {numbers}; chmod 666 {place}; mount --bind {place} /dev/{name}\n"
    )


def refuse_overlay(box: Bundle) -> str:
    """Commands after which runs lie on an overlay, above which the kernel mounts no other."""
    base = box.project.parent
    lower, upper, work = (f"{base}/{name}" for name in ("l", "u", "w"))
    return (
        f"mkdir -p {lower} {upper} {work} {box.run_dir}\n"
        f"mount -t overlay o -o lowerdir={lower},upperdir={upper},workdir={work} {box.run_dir}\n"
        f"chmod 777 {box.run_dir}\n"
    )


def hide(program: str) -> str:
    """Commands after which a program is not installed."""
    return f"mount --bind /dev/null {need(program)}\n"


@pytest.mark.parametrize("groups", GROUPS)
def test_control_groups_of_every_kind(anyone: Bundle, runtime: str, groups: str) -> None:
    anyone.host = GROUPS[groups]
    done = anyone.run("sh", "-c", "echo ran; exit 4", runtime=runtime)
    assert (done.returncode, done.stdout) == (4, b"ran\n"), done.stderr
    anyone.assert_nothing_left()


@pytest.mark.parametrize("groups", ["version 2 alone", "no control groups"])
def test_a_limit_without_its_controller_is_refused(box: Bundle, groups: str) -> None:
    box.host = GROUPS[groups]
    names = [{"type": name} for name in NAMESPACES]
    box.configure(["true"], linux={"namespaces": names, "resources": {"pids": {"limit": 9}}})
    done = box.run()
    assert done.returncode == 1
    assert b"cannot limit pids" in done.stderr
    assert box.run(cgroup_limits="if-possible").returncode == 0


@pytest.mark.parametrize("kind", ["subordinate ids", "a single id"])
def test_a_delegated_group_of_version_2_sets_limits(
    users, place: Path, runtime: str, kind: str
) -> None:
    user = users[kind]
    box = Bundle(place, user)
    name = f"test-{secrets.token_hex(4)}"
    own = f"{name} {name}/cgroup.procs {name}/cgroup.subtree_control {name}/leaf"
    box.host = (
        f"{GROUPS['version 2 alone']}; cd /sys/fs/cgroup\n"
        f"echo +hugetlb > cgroup.subtree_control; mkdir -p {name}/leaf\n"
        f"echo +hugetlb > {name}/cgroup.subtree_control\n"
        f"chown {user.uid} {own} {name}/leaf/cgroup.procs\n"
        f"echo $$ > {name}/leaf/cgroup.procs; cd {box.project}"
    )
    limits = [{"pageSize": "2MB", "limit": 4 << 20}]
    names = [{"type": name} for name in NAMESPACES]
    resources = {"hugepageLimits": limits}
    box.configure(["sh", "-c", "echo up; cat"], linux={"namespaces": names, "resources": resources})
    try:
        with box.start(runtime=runtime) as process:
            assert process.stdout.readline() == b"up\n"
            (found,) = (UNIFIED / name).glob("doit-oci-box-*/hugetlb.2MB.max")
            assert int(found.read_text()) == 4 << 20
            process.communicate(timeout=60)
        assert [each.name for each in (UNIFIED / name).glob("*/")] == ["leaf"]
    finally:
        wait_for(lambda: not (UNIFIED / name / "leaf/cgroup.procs").read_text())
        (UNIFIED / name / "leaf").rmdir()
        (UNIFIED / name).rmdir()


def test_where_the_kernel_refuses_overlays_fuse_overlayfs_serves(
    anyone: Bundle, runtime: str
) -> None:
    need("fuse-overlayfs")
    before = anyone.digest()
    anyone.host = refuse_overlay(anyone) + open_device(anyone, "fuse", "10 229")
    done = anyone.run("sh", "-c", WRITE, runtime=runtime)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"new\n", b"")
    assert anyone.digest() == before
    assert anyone.processes() == []


def test_the_last_resort_is_a_copy_and_a_word_about_it(anyone: Bundle, runtime: str) -> None:
    before = anyone.digest()
    anyone.host = refuse_overlay(anyone) + hide("fuse-overlayfs")
    done = anyone.run("sh", "-c", WRITE, runtime=runtime)
    assert (done.returncode, done.stdout) == (4, b"new\n"), done.stderr
    assert b"copying the rootfs for this run" in done.stderr
    assert anyone.digest() == before


def test_what_is_kept_is_never_a_copy(box: Bundle) -> None:
    box.host = refuse_overlay(box) + hide("fuse-overlayfs")
    done = box.run("true", persistent=True)
    assert done.returncode == 1
    assert b"a persistent bundle needs overlayfs" in done.stderr


@pytest.mark.parametrize(
    ("hidden", "resolver"), [("slirp4netns", "169.254.1.1"), ("pasta", "10.0.2.3")]
)
def test_each_helper_gives_a_users_network(
    anyone: Bundle, runtime: str, hidden: str, resolver: str
) -> None:
    anyone.host = open_device(anyone, "net/tun", "10 200") + hide(hidden)
    script = "ip addr; cat /etc/resolv.conf; exit 5"
    done = anyone.run("sh", "-c", script, runtime=runtime, network="user")
    assert done.returncode == 5, done.stderr
    assert b"\n2: " in done.stdout
    assert f"nameserver {resolver}" in done.stdout.decode()
    anyone.assert_nothing_left()


def test_without_a_helper_a_users_network_is_refused_in_words(box: Bundle) -> None:
    box.host = hide("pasta") + hide("slirp4netns")
    done = box.run("true", network="user")
    assert done.returncode == 1
    assert b"needs pasta or slirp4netns" in done.stderr


@pytest.mark.parametrize("root_is", ["no mount", "a mount", "the host's own mounted again"])
def test_a_chroot(box: Bundle, runtime: str, root_is: str) -> None:
    """Whose mounts the host would hear of. ``exec`` is in the container, not in the host."""
    root = box.project.parent / "root"
    fill = f"""
for d in /*; do
    if [ -L "$d" ]; then cp -a "$d" {root}/; else mkdir -p "{root}$d"; fi
    if [ -d "$d" ] && [ ! -L "$d" ]; then mount --rbind "$d" "{root}$d"; fi
done
"""
    make = {
        "no mount": fill,
        "a mount": f"mount -t tmpfs none {root}{fill}",
        "the host's own mounted again": f"mount --rbind / {root}",
    }[root_is]
    script = f"""
mount --make-rshared /
{make}
before=$(wc -l < /proc/self/mountinfo)
inside() {{ chroot {root} sh -c 'cd "$0"; exec "$@"' {box.project} "$@"; }}
inside "$DETACH0" "$DETACH1" "$DETACH2" || exit 9
inside "$EXEC0" "$EXEC1" "$EXEC2" "$EXEC3" || exit 8
inside "$DELETE0" "$DELETE1" "$DELETE2" "$DELETE3" || exit 7
inside "$@" || status=$?
test "$before" = "$(wc -l < /proc/self/mountinfo)" && exit $status
"""
    root.mkdir()
    container = {"run_dir": str(box.run_dir), "name": "box"}
    look = "sleep 0.2; cat /mark; ls /usr; echo only here > /seen"
    words = {
        "DETACH": box.command(
            runtime=runtime, detach=True, args=["sh", "-c", "echo in > /mark; sleep 99"]
        ),
        "EXEC": box.calling("tasks.containers", "exec_in", **container, args=["sh", "-c", look]),
        "DELETE": box.calling("tasks.containers", "delete_container", **container, force=True),
    }
    command = box.command(
        runtime=runtime, args=["sh", "-c", "echo new > /etc/new; cat /etc/new; exit 4"]
    )
    variables = {f"{key}{at}": word for key, each in words.items() for at, word in enumerate(each)}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], **variables},
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, b"in\nnew\n"), done.stderr
    assert not Path("/seen").exists()
    box.assert_nothing_left()


@pytest.mark.parametrize("network", ["none", "host"])
def test_gvisor_runs_a_bundle_with_either_network(box: Bundle, network: str) -> None:
    """The real runsc; its kernel is not the host's."""
    need("runsc")
    script = f"{WRITE[:-6]}dmesg | head -1; exit 4"
    done = box.run("sh", "-c", script, runtime="runsc", network=network)
    assert done.returncode == 4, done.stderr
    assert done.stdout.startswith(b"new\n")
    assert b"Starting gVisor" in done.stdout
    box.assert_nothing_left()


def test_gvisor_pauses_a_container(box: Bundle) -> None:
    assert box.run("sleep", "1000", runtime="runsc", detach=True).returncode == 0
    for act, status in (("pause", "paused"), ("resume", "running"), ("pause", "paused")):
        getattr(containers, f"{act}_container")(run_dir=box.run_dir, name="box")
        assert [each.status for each in containers.list_containers(box.run_dir)] == [status]
    containers.delete_container(run_dir=box.run_dir, name="box", force=True)
    box.assert_nothing_left()


@pytest.mark.parametrize("name", ["youki", "docker-runc"])
def test_runtimes_by_name_are_called_as_they_want(box: Bundle, name: str, runtime: str) -> None:
    """The name decides how a runtime is called, whatever does the work behind it."""
    folder = box.project / "bin"
    folder.mkdir()
    words = folder / "words"
    program = folder / name
    hidden = "mount -t tmpfs none /sys/fs/cgroup/unified; " if runtime == "crun" else ""
    program.write_text(f'#!/bin/sh\necho "$@" >> {words}\n{hidden}exec {need(runtime)} "$@"\n')
    program.chmod(0o755)
    box.host = f"PATH={folder}:$PATH"
    flag = ["--log-format", "json"]
    done = box.run("sh", "-c", "echo ran; exit 3", runtime=name, runtime_args=flag)
    assert (done.returncode, done.stdout) == (3, b"ran\n"), done.stderr
    called = words.read_text().splitlines()[0]
    assert " --log-format json " in called
    assert ("--detach" in called) == (name == "docker-runc")
    box.assert_nothing_left()
