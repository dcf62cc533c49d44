"""Every key of a bundle, seen from inside a container that runc and crun run by hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.busybox_bundle import Project, image_config, new_name, runtime_words

RUNTIMES = ("runc", "crun")


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    # Not below a directory that only root may enter: containers run as other users too.
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    return Project(tmp_path)


STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status"


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_defaults(project: Project, runtime: str) -> None:
    found = status(project.run(runtime, STATUS))
    held = "0000000020000420"
    assert found["CapBnd"] == found["CapEff"] == found["CapPrm"] == held
    assert found["CapInh"] == "0" * 16
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"
    assert found["Uid"].split() == ["0"] * 4


def test_namespaces_are_the_containers_own(project: Project, runtime: str) -> None:
    kinds = ("pid", "net", "ipc", "uts", "mnt", "cgroup")
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    (project.rootfs / "bin/readlink").symlink_to("busybox")
    inside = project.run(runtime, script).split()
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert not set(inside) & set(outside)


CASES: dict[str, tuple[str, str, str]] = {
    "hostname is the bundle's name": ("", "hostname", "box\n"),
    "hostname": ('hostname = "other.example"', "hostname", "other.example\n"),
    "domainname": ('domainname = "corp"', "cat /proc/sys/kernel/domainname", "corp\n"),
    "uts host": ('uts = "host"', "hostname", os.uname().nodename + "\n"),
    "environment": (
        'environment = { A = "x y", B = 1, C = true }',
        "echo $A-$B-$C",
        "x y-1-true\n",
    ),
    "environment as a list": ('environment = ["A=x=y"]', "echo $A", "x=y\n"),
    "unset environment": (
        'unset = ["environment.PATH"]\nenvironment={Q="1"}',
        "echo $Q$PATH",
        "1/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    ),
    "working_dir": ('working_dir = "/tmp"', "pwd", "/tmp\n"),
    "user by number": ('user = "1234:2345"', "/bin/id -u; /bin/id -g", "1234\n2345\n"),
    "user by name": ('user = "web"', "/bin/id -u; /bin/id -G; echo $HOME", "33\n34 29\n/srv/web\n"),
    "user with group": ('user = "web:video"', "/bin/id -G", "44\n"),
    "user by number has passwd's group": ("user = 33", "/bin/id -G", "34\n"),
    "group_add": ('user = "7:8"\ngroup_add = ["video", 99]', "/bin/id -G", "8 44 99\n"),
    "read_only": ("read_only = true", "/bin/touch /x 2>/dev/null || echo refused", "refused\n"),
    "writable": ("", "/bin/touch /x && echo written", "written\n"),
    "tmpfs": (
        'tmpfs = ["/run:size=64k,mode=700"]',
        "df -k /run | grep -c ' 64 '; stat -c %a /run",
        "1\n700\n",
    ),
    "tmpfs on a read-only root": (
        'read_only = true\ntmpfs = "/tmp"',
        "/bin/touch /tmp/x && echo written; stat -c %a /tmp",
        "written\n1777\n",
    ),
    "cap_drop": (
        'cap_drop = ["ALL"]',
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000000000\n",
    ),
    "cap_add over ALL": (
        'cap_drop = ["ALL"]\ncap_add = ["chown"]',
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000000001\n",
    ),
    "cap_add for another user": (
        'user = "1:1"\ncap_drop = ["ALL"]\ncap_add = ["CAP_NET_RAW"]',
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000002000\n",
    ),
    "another user has no capabilities": (
        'user = "1:1"',
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000000000\n",
    ),
    "security_opt": (
        'security_opt = ["no-new-privileges:false"]',
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t0\n",
    ),
    "seccomp unconfined": (
        'seccomp = "unconfined"',
        "grep Seccomp: /proc/self/status",
        "Seccomp:\t0\n",
    ),
    "ulimits": (
        "ulimits = { nofile = 128, core = { soft = 0, hard = -1 } }",
        "ulimit -n; ulimit -Hc",
        "128\nunlimited\n",
    ),
    "nofile by default": ("", "ulimit -n", "1024\n"),
    "sysctls": (
        "sysctls = { 'net.ipv4.ip_forward' = 1 }",
        "cat /proc/sys/net/ipv4/ip_forward",
        "1\n",
    ),
    "shm_size": ('shm_size = "1m"', "df -k /dev/shm | grep -c ' 1024 '", "1\n"),
    "network none": ("", "ls /sys/class/net", "lo\n"),
    "oom_score_adj": ("oom_score_adj = 321", "cat /proc/self/oom_score_adj", "321\n"),
    "masked paths": ("", "wc -c < /proc/timer_list", "0\n"),
    "read-only paths": (
        "",
        "echo 1 2>/dev/null > /proc/sys/kernel/pid_max || echo refused",
        "refused\n",
    ),
    "systempaths": (
        'security_opt = ["systempaths=unconfined"]',
        "mount | grep -c '/proc/sys\\|/proc/kcore'; true",
        "0\n",
    ),
    "devices": (
        'devices = ["/dev/fuse", "/dev/null:/dev/nothing:r"]',
        "stat -c %t:%T /dev/fuse /dev/nothing",
        "a:e5\n1:3\n",
    ),
    "device in a table": (
        'devices = [{ path = "/dev/own", type = "c", major = 1, minor = 5, mode = "600", uid = 7}]',
        "stat -c '%t:%T %a %u' /dev/own",
        "1:5 600 7\n",
    ),
    "a device without permission": (
        'cap_add = ["MKNOD"]',
        "mknod /tmp/d b 8 0 && cat /tmp/d 2>/dev/null || echo refused",
        "refused\n",
    ),
    "spec": ("[bundles.box.spec]\nprocess = { user = { umask = 0o027 } }", "umask", "0027\n"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_key(project: Project, runtime: str, case: tuple[str, str, str]) -> None:
    keys, script, expected = case
    if "PATH" in keys:
        script = f"PATH=$PATH; {script}"
    assert project.run(runtime, script, keys) == expected


def test_entrypoint_drops_the_images_cmd(project: Project, runtime: str) -> None:
    image = image_config(Entrypoint=["/bin/echo", "entry"], Cmd=["cmd"])
    for keys, expected in (
        ("", "entry cmd\n"),
        ('command = ["given"]', "entry given\n"),
        ('entrypoint = ["/bin/echo", "own"]', "own\n"),
        ('entrypoint = "/bin/echo own"\ncommand = "\'a b\' c"', "own a b c\n"),
        ('unset = ["entrypoint"]\ncommand = ["/bin/echo", "bare"]', "bare\n"),
    ):
        project.configure(keys, image)
        words = [*runtime_words(runtime), "run", "--bundle", str(project.bundle), new_name()]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == (expected, ""), keys


def test_volumes_start_from_the_project(project: Project, runtime: str) -> None:
    (project.folder / "data").mkdir()
    (project.folder / "data/file").write_text("from the host\n")
    keys = 'volumes = ["./data:/data:ro", { source = "./data", target = "/rw/deep" }]'
    script = "cat /data/file; touch /data/x 2>/dev/null || echo refused; echo new > /rw/deep/out"
    assert project.run(runtime, script, keys) == "from the host\nrefused\n"
    assert (project.folder / "data/out").read_text() == "new\n"


def test_env_file(project: Project, runtime: str) -> None:
    (project.folder / "a.env").write_text("A=file\nB='single quoted'\nC=\"x\\ty\" # comment\n")
    keys = 'env_file = "a.env"\nenvironment = { A = "table" }'
    assert project.run(runtime, 'echo "$A|$B|$C"', keys) == "table|single quoted|x\ty\n"


def test_secrets_are_read_only_files(project: Project, runtime: str) -> None:
    (project.folder / "token").write_text("s3cret")
    keys = 'secrets = { token = "./token" }'
    script = "cat /run/secrets/token; echo x > /run/secrets/token || echo refused"
    assert project.run(runtime, f"({script}) 2>/dev/null", keys) == "s3cretrefused\n"
    assert "s3cret" not in (project.bundle / "config.json").read_text()


def test_volume_of_the_image_is_seeded_and_keeps_its_owner(project: Project, runtime: str) -> None:
    folder = project.add_directory("srv/data", mode=0o750, uid=33, gid=34)
    (folder / "seed").write_text("seeded\n")
    os.chown(folder / "seed", 33, 34)
    script = "stat -c '%a %u:%g' /srv/data; cat /srv/data/seed; touch /srv/data/new; ls /srv/data"
    found = project.run(runtime, script, Volumes={"/srv/data": {}}, User="web", Env=["PATH=/bin"])
    assert found == "750 33:34\nseeded\nnew\nseed\n"
    assert os.listdir(folder) == ["seed"]


def test_volume_of_the_image_is_writable_on_a_read_only_root(
    project: Project, runtime: str
) -> None:
    (project.rootfs / "v").mkdir()
    image = {"Volumes": {"/v": {}}, "Env": ["PATH=/bin"]}
    assert project.run(runtime, "touch /v/x && ls /v", "read_only = true", **image) == "x\n"


def test_network_host(project: Project, runtime: str) -> None:
    (project.rootfs / "bin/readlink").symlink_to("busybox")
    found = project.run(runtime, "readlink /proc/self/ns/net", 'network = "host"')
    assert found.strip() == os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("kind", ["pid", "ipc"])
def test_host_namespace(project: Project, runtime: str, kind: str) -> None:
    (project.rootfs / "bin/readlink").symlink_to("busybox")
    found = project.run(runtime, f"readlink /proc/self/ns/{kind}", f'{kind} = "host"')
    assert found.strip() == os.readlink(f"/proc/self/ns/{kind}")


LIMITS = {
    "mem_reservation": (
        'mem_reservation = "16m"',
        "memory/memory.soft_limit_in_bytes",
        "16777216",
    ),
    "cpu_quota": (
        "cpu_quota = 20000\ncpu_period = 50000",
        "cpu/cpu.cfs_period_us",
        "50000",
    ),
    "mem_limit": ('mem_limit = "32m"', "memory/memory.limit_in_bytes", "33554432"),
    "cpus": ("cpus = 0.5", "cpu/cpu.cfs_quota_us", "50000"),
    "cpu_shares": ("cpu_shares = 512", "cpu/cpu.shares", "512"),
    "cpuset": ('cpuset = "0"', "cpuset/cpuset.cpus", "0"),
    "pids_limit": ("pids_limit = 32", "pids/pids.max", "32"),
}
LIMITS_2 = {
    "mem_reservation": ("memory.low", "16777216"),
    "cpu_quota": ("cpu.max", "20000 50000"),
    "mem_limit": ("memory.max", "33554432"),
    "cpus": ("cpu.max", "50000 100000"),
    "cpu_shares": ("cpu.weight", "20"),
    "cpuset": ("cpuset.cpus", "0"),
    "pids_limit": ("pids.max", "32"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(project: Project, name: str) -> None:
    keys, file, expected = LIMITS[name]
    if not Path("/sys/fs/cgroup/memory").is_dir():
        file, expected = LIMITS_2[name]
    assert project.run("runc", f"cat /sys/fs/cgroup/{file}", keys).strip() == expected


def test_seccomp_refuses_what_it_should(project: Project, runtime: str) -> None:
    keys = 'cap_add = ["SYS_ADMIN", "SYS_TIME"]'
    script = "umount /dev/shm && echo unmounted; chroot / true 2>/dev/null || echo refused"
    assert project.run(runtime, script, keys) == "unmounted\nrefused\n"


def test_seccomp_file(project: Project, runtime: str) -> None:
    profile = """{"defaultAction": "SCMP_ACT_ALLOW",
      "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"""
    (project.folder / "profile.json").write_text(profile)
    found = project.run(
        runtime, "mkdir /tmp/x 2>&1 || touch /tmp/y && ls /tmp", 'seccomp = "profile.json"'
    )
    assert "not permitted" in found
    assert found.endswith("y\n")


def test_hooks(project: Project, runtime: str) -> None:
    keys = (
        'hooks = { createRuntime = [{ path = "/bin/sh", '
        f'args = ["sh", "-c", "cat > {project.folder}/state"] }}] }}'
    )
    assert project.run(runtime, "echo ran", keys) == "ran\n"
    assert '"status"' in (project.folder / "state").read_text()


def test_annotations_and_the_stop_signal_are_in_the_state(project: Project) -> None:
    """Hooks are given the container's state, annotations included."""
    keys = (
        'annotations = { mine = "1" }\nlabels = { "yours.too" = "2" }\nstop_signal = "int"\n'
        'hooks = { createRuntime = [{ path = "/bin/sh", '
        f'args = ["sh", "-c", "cat > {project.folder}/state"] }}] }}'
    )
    project.run("runc", "true", keys)
    state = json.loads((project.folder / "state").read_text())
    assert state["annotations"]["mine"] == "1"
    assert state["annotations"]["yours.too"] == "2"
    assert state["annotations"]["org.opencontainers.image.stopSignal"] == "SIGINT"


def test_cgroup_parent(project: Project) -> None:
    script = "cat /proc/self/cgroup"
    found = project.run(
        "runc",
        script,
        "cgroup_parent = '/doit-oci-test/x'\n[bundles.box.spec.linux]\nnamespaces = "
        "[{type='pid'},{type='mount'},{type='uts'},{type='ipc'},{type='network'}]",
    )
    assert "/doit-oci-test/x" in found


def test_two_keys_of_memory(project: Project) -> None:
    config = project.configure('mem_limit = "32m"\nmemswap_limit = "48m"\noom_kill_disable = true')
    assert config["linux"]["resources"]["memory"] == {
        "limit": 32 << 20,
        "swap": 48 << 20,
        "disableOOMKiller": True,
    }
