"""Bundles of a static busybox with a hand-made config.json, run in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .docker_registry import need
from .ordinary_user import OrdinaryUser

RUN_ONE = Path(__file__).with_name("run_one.py")
CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETUID",
    "CAP_SETGID",
]
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
APPLETS = (
    "cat chmod chown dd dmesg echo env false head hostname id ip kill ls mkdir mount ps rm sed seq sh "
    "sleep stat stty sync tail test touch true tty wc"
)


def config_json(args: list[str], **changes: Any) -> dict[str, Any]:
    """What ``runc spec`` writes, but without a terminal; ``changes`` replace top-level keys."""
    mount = {
        "proc": ("proc", "/proc", []),
        "tmpfs": ("tmpfs", "/dev", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        "devpts": ("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "gid=5", "mode=0620"]),
        "sysfs": ("sysfs", "/sys", ["nosuid", "noexec", "nodev", "ro"]),
    }
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": place, "type": kind, "source": kind, "options": options}
            for kind, place, options in mount.values()
        ],
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES]},
    }
    return {**config, **changes}


class Process(subprocess.Popen[bytes]):
    """A run whose pipes close with the block, and that does not outlive a failing test."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


class Bundle:
    """A bundle ``box``, in a project folder that ``user`` owns; None for root."""

    def __init__(self, project: Path, user: OrdinaryUser | None = None) -> None:
        self.project = project
        self.user = user
        self.path = project / "build/bundles/box"
        self.rootfs = self.path / "rootfs"
        self.run_dir = project / "build/run"
        self._groups_before = empty_groups()
        self._make_rootfs()
        self.configure(["true"])

    def _make_rootfs(self) -> None:
        (self.rootfs / "bin").mkdir(parents=True)
        shutil.copy(need("busybox"), self.rootfs / "bin/busybox")
        for name in APPLETS.split():
            (self.rootfs / "bin" / name).symlink_to("busybox")
        for name in ("dev", "etc", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir()
        (self.rootfs / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        self.give_away()

    def give_away(self) -> None:
        """Hand all files to the user."""
        if self.user is None:
            return
        for folder, folders, files in os.walk(self.project):
            for name in (*folders, *files):
                os.lchown(os.path.join(folder, name), self.user.uid, self.user.gid)
        os.chown(self.project, self.user.uid, self.user.gid)

    def configure(self, args: list[str], **changes: Any) -> None:
        config = config_json(args, **changes)
        config["process"]["env"].append(f"OF={self.project}")  # tells whose a process is
        (self.path / "config.json").write_text(json.dumps(config))

    def settings(self, **settings: Any) -> dict[str, Any]:
        return {
            "bundle": str(self.path),
            "name": "box",
            "run_dir": str(self.run_dir),
            "project": str(self.project),
            "runtime": None,
            "args": None,
            "entrypoint": [],
            **settings,
        }

    def command(self, **settings: Any) -> list[str]:
        python = sys.executable if self.user is None else self.user._python()
        return [python, str(RUN_ONE), json.dumps(self.settings(**settings))]

    host = ""
    """Shell commands that root does first, in a mount namespace that only the run is in."""

    def start(
        self,
        *args: str,
        files: dict[str, Any] | None = None,
        command: list[str] | None = None,
        **settings: Any,
    ) -> Process:
        """A run with these arguments, its three files being pipes; or another command."""
        if args:
            settings["args"] = list(args)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        user: dict[str, Any] = {}
        if self.user is not None:
            user = {"user": self.user.uid, "group": self.user.gid, "extra_groups": []}
            user["env"] = {"PATH": "/usr/bin:/bin", "HOME": self.user.home}
        command = command or self.command(**settings)
        if self.host:
            as_whom = "exec"
            if self.user is not None:
                as_whom = f"exec setpriv --reuid={self.user.uid} --regid={self.user.gid}"
                as_whom += " --clear-groups"
                user = {"env": user["env"]}
            script = f'set -e\n{self.host}\n{as_whom} "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        return Process(command, cwd=self.project, **{**pipes, **(files or {})}, **user)

    def run(self, *args: str, stdin: bytes = b"", **settings: Any) -> subprocess.CompletedProcess:
        process = self.start(*args, **settings)
        try:
            out, err = process.communicate(stdin, timeout=60)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def calling(self, module: str, function: str, **words: Any) -> list[str]:
        """A command that calls a function of ours; its result is the status."""
        python = sys.executable if self.user is None else self.user._python()
        script = (
            f"import json, sys; sys.path.insert(0, {str(RUN_ONE.parents[2])!r})\n"
            f"from {module} import {function}\n"
            f"sys.exit({function}(**json.loads(sys.argv[1])))"
        )
        return [python, "-c", script, json.dumps(words)]

    def call(self, module: str, function: str, **words: Any) -> subprocess.CompletedProcess[bytes]:
        """Call a function of ours in a process of the user's."""
        with self.start(command=self.calling(module, function, **words)) as process:
            out, err = process.communicate(b"", timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def digest(self) -> str:
        """Of everything in the bundle: names, modes, owners, times and content."""
        found = hashlib.sha256()
        for folder, folders, files in os.walk(self.path):
            folders.sort()
            for name in (".", *sorted(folders), *sorted(files)):
                place = os.path.join(folder, name)
                status = os.lstat(place)
                fields = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
                found.update(repr((place, fields)).encode())
                if stat.S_ISREG(status.st_mode):
                    found.update(Path(place).read_bytes())
        return found.hexdigest()

    def containers(self) -> list[str]:
        folder = self.run_dir / "containers"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def processes(self) -> list[tuple[int, str]]:
        """(number, command line) of all that this bundle's runs have going."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0] if line else "Z"
                environment = (entry / "environ").read_bytes() if line else b""
            except OSError:
                continue
            text = line.replace(b"\0", b" ").decode(errors="replace")
            if state not in "ZX" and (
                str(self.project) in text or b"OF=%b" % bytes(self.project) in environment
            ):
                found.append((int(entry.name), text))
        return found

    def assert_nothing_left(self) -> None:
        deadline = time.monotonic() + 30
        while (self.containers() or self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.containers() == []
        assert self.processes() == []
        assert str(self.project) not in Path("/proc/self/mountinfo").read_text()
        left = empty_groups() - self._groups_before
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left &= empty_groups()  # those of tests beside this one come and go
        assert left == set()


def empty_groups() -> set[str]:
    """Control groups of containers of these tests in which no process is."""
    found = set()
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        for name in folders:
            try:
                if name.startswith("doit-oci-box-"):
                    path = Path(folder, name)
                    processes = [*path.rglob("cgroup.procs")]
                    if not any(each.read_text() for each in processes):
                        found.add(str(path))
            except OSError:
                continue
    return found


def await_size(rows: int, columns: int) -> str:
    """Shell words that wait for a terminal's size: crun sets the first one beside the start."""
    return f'until [ "$(stty size 2> /dev/null)" = "{rows} {columns}" ]; do sleep 0.02; done'


def wait_for(condition: Any, seconds: float = 60.0) -> Any:
    """What ``condition()`` gives, once it gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found
