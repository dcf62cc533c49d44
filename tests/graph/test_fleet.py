"""A fleet against the serial build: separate processes, disjoint stores, deaths in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.shard import shard_of
from tests.support.command import CHECKOUT, doit_oci, expect, start_doit_oci, start_patched
from tests.support.docker_registry import free_port, need, wait_for_port
from tests.support.layers import item, tar
from tests.support.layout import odd_layer, write_layout

COUNT = 5
STARTING = """
import distributed.nanny
start = distributed.nanny.Nanny.start_unsafe
async def start_unsafe(self):
    print("starting", flush=True)
    return await start(self)
distributed.nanny.Nanny.start_unsafe = start_unsafe
"""
IMPATIENT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}


def declare(where: Path, count: int = COUNT) -> Path:
    """A project of small images in layouts beside it, with a cache in a directory."""
    where.mkdir()
    text = f'[cache]\nremote = "file://{where}/remote"\n'
    for number in range(count):
        write_layout(where / f"l{number}", odd_layer(), tar([item(f"f{number}", "x" * number)]))
        text += f'[images.i{number}]\nimage = "oci:{where}/l{number}"\n'
    (where / "images.toml").write_text(text)
    return where


def digests(project: Path) -> dict[str, str]:
    lock = json.loads((project / "images.lock").read_bytes())
    return {name: found["linux/amd64"]["digest"] for name, found in lock["bundles"].items()}


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of the same images, built one after the other in one process."""
    project = declare(tmp_path_factory.mktemp("serial") / "p")
    expect(doit_oci(project, "bundle"))
    return digests(project)


def hiding(folder: Path, *names: str) -> Path:
    """A folder for PYTHONPATH; who has it there finds none of the packages."""
    folder.mkdir()
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in names)
    (folder / "sitecustomize.py").write_text(f"import sys\n{hidden}")
    return folder


class Process:
    """A process of the cluster, in a session of its own; its words go to a file."""

    def __init__(self, log: Path, *words: str | Path, package: Path = CHECKOUT, **env: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *map(str, words)],
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(package), **env},
            )

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """A scheduler and workers, each with a store of its own."""

    def __init__(
        self, where: Path, security: tuple[str | Path, ...] = (), scheme: str = "tcp"
    ) -> None:
        self.where, self.security = where, security
        self.address = f"{scheme}://127.0.0.1:{free_port()}"
        where.mkdir()
        self.scheduler = Process(
            where / "scheduler.log", "distributed.cli.dask_scheduler",
            "--host", self.address.rpartition(":")[0],
            "--port", self.address.rpartition(":")[2], "--no-dashboard", *security,
            package=hiding(where / "nothing of ours", "doit_oci", "tasks"),
        )  # fmt: skip
        self.workers: list[Process] = []
        wait_for_port(
            int(self.address.rpartition(":")[2]), self.scheduler.process, self.scheduler.log
        )

    def add_worker(self, name: str, package: Path = CHECKOUT) -> Process:
        self.workers.append(
            Process(
                self.where / f"{name}.log", "distributed.cli.dask_worker", self.address,
                "--nthreads", "1", "--no-dashboard", "--no-nanny", "--name", name,
                "--local-directory", self.where / name, *self.security,
                package=package,
            )
        )  # fmt: skip
        return self.workers[-1]

    def close(self) -> None:
        for each in (*self.workers, self.scheduler):
            each.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster")
    yield made
    made.close()


def start_fleet(project: Path, *words: str, **env: str) -> subprocess.Popen[bytes]:
    return start_doit_oci(project, "fleet", *words, **env)


def first_line(fleet: subprocess.Popen[bytes]) -> str:
    """Wait for the first bundle that is done."""
    assert fleet.stderr is not None
    for line in fleet.stderr:
        if b": sha256:" in line:
            return line.decode()
    raise AssertionError("the fleet ended without a bundle")


def test_the_embedded_cluster_gives_the_serial_digests(
    tmp_path: Path, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p")
    # The command as it is installed: the workers' processes begin by reading it.
    command = Path(sys.executable).with_name("doit-oci")
    words = [command, "fleet", "--workers", "2"]
    done = subprocess.run(words, cwd=project, capture_output=True, timeout=120, check=False)
    expect(done)
    assert digests(project) == serial
    again = doit_oci(project, "fleet", "--workers", "2")
    expect(again)
    assert again.stderr == b""


def test_an_embedded_cluster_that_does_not_start_is_told_in_words(tmp_path: Path) -> None:
    done = doit_oci(
        declare(tmp_path / "p"), "fleet", env={"DASK_DISTRIBUTED__WORKER__PRELOAD": "not_there"}
    )
    expect(done, 1)
    assert b"the workers of this machine do not start" in done.stderr


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(
    tmp_path: Path, cluster: Cluster, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p")
    victim = cluster.add_worker("victim")
    fleet = start_fleet(project, "--scheduler", cluster.address)
    first_line(fleet)
    victim.kill()
    cluster.add_worker("heir")
    said = fleet.communicate(timeout=120)[1].decode()
    assert fleet.returncode == 0, said
    assert digests(project) == serial
    assert "on heir" in said


def test_a_lost_scheduler_leaves_the_rest_to_a_cluster_here(
    tmp_path: Path, cluster: Cluster, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p")
    cluster.add_worker("one")
    fleet = start_fleet(project, "--scheduler", cluster.address, "--workers", "2")
    first_line(fleet)
    cluster.close()
    said = fleet.communicate(timeout=180)[1].decode()
    assert fleet.returncode == 0, said
    assert "the scheduler was lost" in said
    assert digests(project) == serial


def test_a_scheduler_that_is_not_there_is_said_and_done_without(
    tmp_path: Path, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    result = doit_oci(project, "fleet", "--scheduler", address, env=IMPATIENT)
    expect(result)
    assert "the scheduler was lost" in result.stderr.decode()
    assert digests(project) == {"i0": serial["i0"]}


def test_a_bundle_that_fails_is_named_and_the_others_are_built(
    tmp_path: Path, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p", 2)
    expect(doit_oci(project, "lock"))
    for blob in (project / "l1" / "blobs" / "sha256").iterdir():
        blob.write_bytes(b"damaged")
    result = doit_oci(project, "fleet", "--workers", "1")
    expect(result, 1)
    assert "i1: " in result.stderr.decode()
    assert digests(project) == {"i0": serial["i0"]}


def test_a_worker_has_the_package_under_the_name_of_an_installed_one(
    tmp_path: Path, cluster: Cluster, serial: dict[str, str]
) -> None:
    package = hiding(tmp_path / "installed", "tasks") / "doit_oci"
    shutil.copytree(CHECKOUT / "tasks", package / "tasks")
    shutil.copytree(CHECKOUT / "specs", package / "specs")
    (package / "__init__.py").touch()
    cluster.add_worker("one", package=package.parent)
    project = declare(tmp_path / "p", 1)
    expect(doit_oci(project, "fleet", "--scheduler", cluster.address))
    assert digests(project) == {"i0": serial["i0"]}


def test_what_a_worker_lacks_is_said(tmp_path: Path, cluster: Cluster) -> None:
    bare = hiding(tmp_path / "bare", "doit_oci", "tasks")
    cluster.add_worker("bare", package=bare)
    project = declare(tmp_path / "p", 1)
    result = doit_oci(project, "fleet", "--scheduler", cluster.address)
    expect(result, 1)
    assert b"i0: has no doit-oci: pip install 'doit-oci[fleet]'" in result.stderr


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    hide = "import sys\nsys.modules['distributed'] = None\n"
    with start_patched(declare(tmp_path / "p", 1), hide, "fleet", stderr=subprocess.PIPE) as fleet:
        said = fleet.communicate(timeout=60)[1].decode()
    assert fleet.returncode == 3
    assert "hint: pip install 'doit-oci[fleet]'" in said


@pytest.mark.parametrize(
    "address", ["ftp://x:1", "nowhere", "tcp://::1", "tcp://h:x", "tcp://h:99999", "inproc://x"]
)
def test_what_is_no_address_is_said(address: str, tmp_path: Path) -> None:
    result = doit_oci(declare(tmp_path / "p", 1), "fleet", "--scheduler", address)
    expect(result, 3)
    assert f"{address}: is no address of a scheduler" in result.stderr.decode()


def test_a_scheduler_without_workers_is_waited_for_with_a_word(
    tmp_path: Path, cluster: Cluster, serial: dict[str, str]
) -> None:
    project = declare(tmp_path / "p", 1)
    fleet = start_fleet(project, "--scheduler", cluster.address)
    assert fleet.stderr is not None
    assert b"has no workers yet; waiting for one" in fleet.stderr.readline()
    cluster.add_worker("late")
    said = fleet.communicate(timeout=120)[1].decode()
    assert fleet.returncode == 0, said
    assert digests(project) == {"i0": serial["i0"]}


def test_a_declaration_that_is_wrong_is_so_for_every_worker(
    tmp_path: Path, cluster: Cluster, serial: dict[str, str]
) -> None:
    for name in ("one", "two"):
        cluster.add_worker(name)
    project = declare(tmp_path / "p", 2)
    with (project / "images.toml").open("a") as file:
        file.write('[bundles.late]\nimage = "i0"\nenv_file = "missing.env"\n')
    result = doit_oci(project, "fleet", "--scheduler", cluster.address)
    expect(result, 3)
    said = result.stderr.decode()
    assert "another one tries" not in said
    assert "not built:\n  late: missing.env: " in said
    assert "help fleet" not in said
    assert digests(project) == {"i0": serial["i0"], "i1": serial["i1"]}


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("while it starts", signal.SIGINT),
        ("while it starts", signal.SIGHUP),
        ("while it starts", signal.SIGTERM),
        ("in the middle", signal.SIGINT),
        ("in the middle", signal.SIGHUP),
    ],
)
def test_a_signal_to_all_of_the_embedded_cluster_ends_it_without_a_traceback(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    project = declare(tmp_path / "p")
    patch = STARTING if moment == "while it starts" else ""
    fleet = start_patched(
        project, patch, "fleet", "--workers", "2",
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    if patch:
        assert fleet.stdout is not None
        assert fleet.stdout.readline() == b"starting\n"
    else:
        first_line(fleet)
    os.killpg(fleet.pid, number)
    said = fleet.communicate(timeout=60)[1].decode()
    assert fleet.returncode == 128 + number
    assert "Traceback" not in said, said
    assert os.listdir(project / "build/tmp") == [".unpack.lock"]


def test_offline_refuses_a_fleet(tmp_path: Path) -> None:
    project = declare(tmp_path / "p", 1)
    expect(doit_oci(project, "lock"))
    result = doit_oci(project, "fleet", "--offline")
    expect(result, 1)
    assert b"needs the network, which is refused" in result.stderr


def parts_of(project: Path) -> list[int]:
    """Which half each image of :func:`declare` is in."""
    return [shard_of(f"oci:{project}/l{number}", 2) for number in range(COUNT)]


def test_a_shard_of_a_fleet_is_a_part_of_it(tmp_path: Path, serial: dict[str, str]) -> None:
    # The parts follow from the images' references, which hold the folder here.
    folders = (tmp_path / f"p{number}" for number in range(1000))
    project = declare(next(folder for folder in folders if len(set(parts_of(folder))) == 2))
    expect(doit_oci(project, "fleet", "--shard", "1/2", "--workers", "1"))
    first = {f"i{number}" for number, part in enumerate(parts_of(project)) if part == 1}
    assert digests(project).keys() == first
    expect(doit_oci(project, "fleet", "--shard", "2/2", "--workers", "1"))
    assert digests(project) == serial


def test_a_fleet_without_a_cache_says_what_it_needs(tmp_path: Path) -> None:
    project = declare(tmp_path / "p", 1)
    text = (project / "images.toml").read_text().partition("[images")
    (project / "images.toml").write_text(text[1] + text[2])
    result = doit_oci(project, "fleet")
    expect(result, 3)
    assert "remote cache" in result.stderr.decode()


def certificates(where: Path) -> dict[str, Path]:
    """An authority and a certificate for every node."""
    where.mkdir()
    for command in (
        f"req -x509 -newkey ed25519 -nodes -days 1 -subj /CN=ca -keyout {where}/ca.key -out {where}/ca",
        f"req -newkey ed25519 -nodes -subj /CN=node -keyout {where}/key -out {where}/csr",
        f"x509 -req -in {where}/csr -CA {where}/ca -CAkey {where}/ca.key -days 1 -out {where}/cert",
    ):
        subprocess.run([need("openssl"), *command.split()], check=True, capture_output=True)
    return {name: where / name for name in ("ca", "cert", "key")}


def client_of(made: dict[str, Path]) -> dict[str, str]:
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    return {
        f"{tls}CA_FILE": str(made["ca"]),
        f"{tls}CLIENT__CERT": str(made["cert"]),
        f"{tls}CLIENT__KEY": str(made["key"]),
    }


def test_tls_keeps_strangers_out(tmp_path: Path, serial: dict[str, str]) -> None:
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs")
    security = ("--tls-ca-file", ours["ca"], "--tls-cert", ours["cert"], "--tls-key", ours["key"])
    cluster = Cluster(tmp_path / "cluster", security, scheme="tls")
    try:
        cluster.add_worker("one")
        project = declare(tmp_path / "p", 1)
        words = ("fleet", "--all", "--scheduler", cluster.address)
        result = doit_oci(project, *words, env=client_of(ours))
        expect(result)
        assert "on one" in result.stderr.decode()
        assert digests(project) == {"i0": serial["i0"]}
        stranger = doit_oci(project, *words, env={**client_of(theirs), **IMPATIENT})
        expect(stranger)
        assert "on one" not in stranger.stderr.decode()
        unarmed = doit_oci(project, *words)
        expect(unarmed, 3)
        assert "needs TLS certificates" in unarmed.stderr.decode()
    finally:
        cluster.close()


def test_what_is_stale_is_built_and_nothing_else(tmp_path: Path) -> None:
    """An edited bundle too, and one whose account is known only once its tree is there."""
    project = declare(tmp_path / "p", 2)
    passwd = "root:x:0:0::/:/bin/sh\napp:x:7:7::/:/bin/sh\n"
    write_layout(project / "named", tar([item("etc/"), item("etc/passwd", passwd)]))
    text = (
        project / "images.toml"
    ).read_text() + f'[images.named]\nimage = "oci:{project}/named"\n'
    edited = '[bundles.named]\nuser = "app"\nhostname = "{0}"\n[bundles.i1]\nhostname = "{0}"\n'
    (project / "images.toml").write_text(text + edited.format("one"))
    built = re.compile(r"^(\S+): sha256:", re.MULTILINE)

    def fleet() -> list[str]:
        result = doit_oci(project, "fleet", "--workers", "2")
        expect(result)
        return sorted(built.findall(result.stderr.decode()))

    assert fleet() == ["i0", "i1", "named"]
    assert fleet() == []
    (project / "images.toml").write_text(text + edited.format("two"))
    assert fleet() == ["i1", "named"]
    found = digests(project)
    (project / "images.lock").unlink()
    expect(doit_oci(project, "bundle", "--dir", "serial"))
    assert digests(project) == found
