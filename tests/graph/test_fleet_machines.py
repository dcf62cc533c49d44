"""A fleet of machines that share only a registry: each has a network, a disk and a store of its
own, and nothing of the project. The digests are always those of the serial build."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import __version__
from tests.support.command import CHECKOUT, DOOR, doit_oci, expect
from tests.support.docker_registry import need
from tests.support.layers import item, tar
from tests.support.layout import odd_layer, write_layout
from tests.support.machines import Machine, Network, network

COUNT = 6
LAYER = 700_000
"""Bytes of each image that nothing makes smaller."""
PRELOAD = """
from distributed.diagnostics.plugin import SchedulerPlugin

class Tell(SchedulerPlugin):
    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "memory":
            print("finished", key, flush=True)

def dask_setup(scheduler):
    scheduler.add_plugin(Tell())
"""
"""For the scheduler: tell the key of each task that is done."""
PORT = 5000
SCHEDULER_PORT = 8786


class Fleet:
    """A registry, a scheduler, a client and workers, each on a machine of its own."""

    def __init__(self, where: Path, machines: Network) -> None:
        self.where, self.machines = where, machines
        self.registry, self.scheduler, self.client = (machines.machine() for _ in range(3))
        self.address = f"tcp://{self.scheduler.host}:{SCHEDULER_PORT}"
        self.workers: dict[str, Machine] = {}
        self._start_registry()
        self._push()
        preload = self.log("preload").with_suffix(".py")
        preload.write_text(PRELOAD)
        self.scheduler.start(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", self.address,
             "--no-dashboard", "--preload", preload], self.log("scheduler"),
            # How long a machine may be silent: the least that Dask takes; 30 s is its default.
            DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP="11s",
        )  # fmt: skip
        self.client.wait_for(self.scheduler.host, SCHEDULER_PORT, self.log("scheduler"))

    def log(self, name: str) -> Path:
        return self.where.with_name(f"{self.where.name}-{name}.log")

    def _start_registry(self) -> None:
        root = self.where / "registry"
        configuration = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(root)}},
            "http": {"addr": f"{self.registry.host}:{PORT}"},
        }
        path = self.log("registry").with_suffix(".yml")
        path.write_text(json.dumps(configuration))
        self.registry.start([need("docker-registry"), "serve", path], self.log("registry"))
        self.client.wait_for(self.registry.host, PORT, self.log("registry"))

    def _push(self) -> None:
        """Images i0, i1, …, of which the project knows nothing but where they are."""
        host = f"{self.registry.host}:{PORT}"
        text = f'[cache]\nremote = "oci://{host}/cache"\n'
        text += f'[[registry]]\nprefix = "{host}"\ninsecure = true\n'
        for number in range(COUNT):
            noise = random.Random(number).randbytes(LAYER)
            layout = self.where / f"l{number}"
            write_layout(layout, odd_layer(), tar([item("noise", noise)]), compress=False)
            copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:latest"]
            words = self.client.inside([*copy, f"docker://{host}/i:{number}"], sees=True)
            subprocess.run(words, check=True, capture_output=True)
            text += f'[images.i{number}]\nimage = "{host}/i:{number}"\n'
        self.project.mkdir()
        (self.project / "images.toml").write_text(text)

    @property
    def project(self) -> Path:
        return self.where / "project"

    def add_worker(self, name: str, disk: str = "64m", package: Path = CHECKOUT) -> Machine:
        made = self.workers[name] = self.machines.machine(disk)
        made.start(
            [sys.executable, "-m", "distributed.cli.dask_worker", self.address,
             "--nthreads", "1", "--no-dashboard", "--no-nanny", "--name", name,
             "--local-directory", self.where / "worker"],
            self.log(name), PYTHONPATH=str(package), HOME=str(self.where),
        )  # fmt: skip
        return made

    def wait_for_workers(self) -> None:
        deadline = time.monotonic() + 60
        while any("Registered to" not in self.log(name).read_text() for name in self.workers):
            assert time.monotonic() < deadline, "a worker does not register"
            time.sleep(0.05)

    def build(self, *words: str) -> subprocess.Popen[bytes]:
        door = [sys.executable, "-c", DOOR, "fleet", "--scheduler", self.address, *words]
        started = subprocess.Popen(
            self.client.inside(door, sees=True),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
        )
        self.client.processes.append(started)
        return started

    def finish(self, fleet: subprocess.Popen[bytes], status: int = 0) -> str:
        said = fleet.communicate(timeout=120)[1].decode(errors="replace")
        logs = "\n".join(self.log(name).read_text()[-1500:] for name in self.workers)
        assert fleet.returncode == status, f"{said}\n{logs}"
        return said

    def lock(self) -> dict[str, dict[str, str]]:
        found = json.loads((self.project / "images.lock").read_bytes())["bundles"]
        return {name: platforms["linux/amd64"] for name, platforms in found.items()}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    with network(hidden) as machines:
        yield Fleet(hidden, machines)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of the same images, built one after the other in one process."""
    where = tmp_path_factory.mktemp("serial")
    text = ""
    for number in range(COUNT):
        noise = random.Random(number).randbytes(LAYER)
        write_layout(where / f"l{number}", odd_layer(), tar([item("noise", noise)]), compress=False)
        text += f'[images.i{number}]\nimage = "oci:l{number}"\n'
    (where / "images.toml").write_text(text)
    expect(doit_oci(where, "bundle"))
    found = json.loads((where / "images.lock").read_bytes())["bundles"]
    return {name: platforms["linux/amd64"]["digest"] for name, platforms in found.items()}


def digests(fleet: Fleet) -> dict[str, str]:
    return {name: found["digest"] for name, found in fleet.lock().items()}


def first_line(process: subprocess.Popen[bytes]) -> None:
    """Wait for the first bundle that is done."""
    assert process.stderr is not None
    for line in process.stderr:
        if b": sha256:" in line:
            return
    raise AssertionError("the fleet ended without a bundle")


def test_the_bytes_go_through_the_registry_and_never_through_the_scheduler(
    fleet: Fleet, serial: dict[str, str]
) -> None:
    fleet.add_worker("one")
    fleet.add_worker("two")
    fleet.finish(fleet.build())
    assert digests(fleet) == serial
    assert fleet.registry.bytes_moved() > COUNT * LAYER
    # Registration and heartbeats of three machines are most of it.
    assert fleet.scheduler.bytes_moved() < COUNT * LAYER / 10


def test_a_task_has_the_key_of_its_bundle(fleet: Fleet) -> None:
    fleet.add_worker("one")
    fleet.finish(fleet.build("i0", "i1"))
    told = fleet.log("scheduler").read_text().splitlines()
    keys = {line.removeprefix("finished ") for line in told if line.startswith("finished doit-oci")}
    assert {key for key in keys if not key.startswith("doit-oci-files-")} == {
        f"doit-oci-{found['key']}" for found in fleet.lock().values()
    }


def test_a_worker_that_loses_its_power_costs_nothing_but_time(
    fleet: Fleet, serial: dict[str, str]
) -> None:
    victim = fleet.add_worker("victim")
    process = fleet.build()
    first_line(process)
    victim.kill()
    fleet.add_worker("heir")
    said = fleet.finish(process)
    assert digests(fleet) == serial
    assert "on heir" in said


def test_a_scheduler_that_is_lost_leaves_the_rest_to_the_client(
    fleet: Fleet, serial: dict[str, str]
) -> None:
    fleet.add_worker("one")
    process = fleet.build("--workers", "2")
    first_line(process)
    os.killpg(fleet.scheduler.processes[0].pid, 9)
    said = fleet.finish(process)
    assert "the scheduler was lost" in said
    assert digests(fleet) == serial


def test_a_worker_whose_disk_is_too_small_leaves_it_to_the_others(
    fleet: Fleet, serial: dict[str, str]
) -> None:
    fleet.add_worker("tiny", disk="1m")
    fleet.add_worker("large")
    fleet.wait_for_workers()
    said = fleet.finish(fleet.build())
    assert "worker tiny could not" in said
    assert digests(fleet) == serial
    assert "No space left on device" in said
    assert "on tiny" not in said


def test_a_disk_that_fills_up_is_emptied_and_used_again(
    fleet: Fleet, serial: dict[str, str]
) -> None:
    """Four megabytes hold one or two of the images, and six go through."""
    fleet.add_worker("small", disk="4m")
    said = fleet.finish(fleet.build())
    assert digests(fleet) == serial
    assert said.count("on small") == COUNT


def test_a_worker_of_another_version_builds_nothing(
    fleet: Fleet, serial: dict[str, str], tmp_path: Path
) -> None:
    package = tmp_path / "old" / "doit_oci"
    shutil.copytree(CHECKOUT / "tasks", package / "tasks")
    shutil.copytree(CHECKOUT / "specs", package / "specs")
    (package / "__init__.py").touch()
    version = package / "tasks" / "__init__.py"
    version.write_text(version.read_text().replace(f'"{__version__}"', '"0.0.9"'))
    fleet.add_worker("old", package=package.parent)
    fleet.add_worker("new")
    fleet.wait_for_workers()
    said = fleet.finish(fleet.build())
    assert f"has doit-oci 0.0.9, wanted is {__version__}" in said
    assert "on old" not in said
    assert digests(fleet) == serial
