"""Bundles end to end: one digest whoever builds where, and what CI does with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT, DOOR, doit_oci, expect
from tests.support.docker_registry import RegistryServer, docker_registry, skopeo
from tests.support.layers import item, tar
from tests.support.layout import busybox_layer, odd_layer, write_layout

__all__ = ["docker_registry"]

IMAGES = '[images.a]\nimage = "oci:layout"\n[bundles.b]\nimage = "a"\nenvironment = { "ä" = "ö" }\n'


def project(where: Path, more: str = "") -> Path:
    where.mkdir(parents=True)
    write_layout(where / "layout", busybox_layer(), odd_layer())
    (where / "images.toml").write_text(IMAGES + more)
    return where


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return project(tmp_path / "here")


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of bundle b, built without anything special."""
    where = project(tmp_path_factory.mktemp("plain") / "p")
    return expect(doit_oci(where, "digest", "b")).strip()


SURROUNDINGS = {
    "umask 077": ("umask 077", {}),
    "umask 0": ("umask 0", {}),
    "another time zone": (":", {"TZ": "Asia/Kathmandu"}),
    "an ASCII locale": (
        ":",
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ),
    "another SOURCE_DATE_EPOCH": (":", {"SOURCE_DATE_EPOCH": "86400"}),
    "another hash seed": (":", {"PYTHONHASHSEED": "99"}),
    "a default ACL": ("setfacl -d -m u:4242:rwx . || :", {}),
    "an ordinary user": ("", {}),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_digest_does_not_depend_on(name: str, here: Path, digest: str) -> None:
    first, environment = SURROUNDINGS[name]
    place = here.rename(here.with_name("a name with spaces and ü"))
    command = [sys.executable, "-c", DOOR, "digest", "b"]
    if first:
        command = ["sh", "-c", f'{first}; exec "$@"', "sh", *command]
    else:
        command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]
    done = subprocess.run(
        command,
        cwd=place,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
    )
    assert expect(done).strip() == digest


def test_the_digest_does_not_depend_on_the_machine(here: Path, digest: str) -> None:
    """For a declared platform: the kernel tells this build of a machine of another kind."""
    declaration = here / "images.toml"
    declaration.write_text('[defaults]\nplatform = "linux/amd64"\n' + declaration.read_text())
    done = subprocess.run(
        ["setarch", "linux32", sys.executable, "-c", DOOR, "digest", "b"],
        cwd=here,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert expect(done).strip() == digest


def test_the_provenance_is_the_same_bytes_whoever_builds_where(here: Path, tmp_path: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    there = project(tmp_path / "another place, ü")
    another = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "sh", "-c"]
    done = subprocess.run(
        [*another, 'umask 077; exec "$@"', "sh", sys.executable, "-c", DOOR, "bundle:b"],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    expect(done)
    name = "build/provenance/b.json"
    assert (there / name).read_bytes() == (here / name).read_bytes()
    said = (here / name).read_text()
    assert str(tmp_path) not in said
    steps = json.loads(said)["predicate"]["buildDefinition"]["internalParameters"]["steps"]
    lock = json.loads((here / "images.lock").read_bytes())
    (locked,) = lock["bundles"]["b"].values()
    assert steps["bundle"]["key"] == locked["key"]
    assert sorted(steps) == ["bundle", "config", "layout", "rootfs"]
    assert f'"{os.uname().nodename}"' not in said


def test_a_lost_provenance_is_written_again(here: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    path = here / "build/provenance/b.json"
    content = path.read_bytes()
    path.unlink()
    expect(doit_oci(here, "rootfs:b", "bundle:b"))
    assert path.read_bytes() == content


def test_reproduce_builds_twice_and_prints_the_digest(here: Path, digest: str) -> None:
    assert expect(doit_oci(here, "reproduce", "b")).strip() == digest


DEFECT = """
import os
if os.environ.get("TZ") == "Asia/Kathmandu":
    import tasks.rootfs
    tasks.rootfs.IMPLIED_MTIME = 5_000_000_000
"""


def test_reproduce_names_path_and_field_of_the_first_difference(here: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        # Where the other user comes too; pytest's own folders are closed to it.
        os.chmod(name, 0o755)
        Path(name, "sitecustomize.py").write_text(DEFECT)
        places = f"{name}{os.pathsep}{CHECKOUT}"
        result = doit_oci(here, "reproduce", "b", env={"PYTHONPATH": places, "TZ": "UTC"})
    expect(result, 1)
    said = result.stderr.decode()
    assert "b: is not reproducible: mtime of / is 0 and 5000000000" in said, said


def test_reproduce_names_what_the_bundle_here_has_and_a_new_build_has_not(here: Path) -> None:
    expect(doit_oci(here, "bundle:b"))
    entries = here / "build/entries/b.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b'"gid":42', b'"gid":43'))
    result = doit_oci(here, "reproduce", "b")
    assert expect(result, 1) == ""
    said = result.stderr.decode()
    assert "b: is not what building it again gives: gid of /etc/copy is 43 and 42" in said, said


def test_reproduce_writes_nothing_where_a_bundles_files_lie(tmp_path: Path) -> None:
    here = project(tmp_path / "above" / "far" / "here")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        files = [Path(name, "absolute.env"), here.parent / "up.env", here.parent.parent / "far.env"]
        for number, path in enumerate(files):
            path.write_text(f"A{number}=1")
            os.utime(path, (5, 5))
        names = f'"{files[0]}", "../up.env", "../../far.env"'
        lines = f'env_file = [{names}, {{ path = "none.env", required = false }}]\n'
        (here / "images.toml").write_text(IMAGES + lines)
        digest = expect(doit_oci(here, "digest", "b"))
        work = Path(name, "work")
        work.mkdir(mode=0o755)
        assert expect(doit_oci(here, "reproduce", "b", env={"TMPDIR": str(work)})) == digest
        assert not list(work.iterdir())
        assert sorted(each.name for each in Path(name).iterdir()) == ["absolute.env", "work"]
        assert {path.stat().st_mtime for path in files} == {5}


def test_reproduce_is_independent_of_a_remote_cache(here: Path, digest: str) -> None:
    """Neither its keys nor what is in it: a build is of what lies in its own directory."""
    with (here / "images.toml").open("a") as file:
        file.write(f'[cache]\nremote = "file://{here}/remote"\npush = true\n')
    expect(doit_oci(here, "bundle:b"))
    with (here / "images.toml").open("a") as file:
        file.write('signing_key = "nowhere.key"\nverify_key = "nowhere.pub"\n')
    before = sorted((path, path.lstat().st_mtime_ns) for path in (here / "remote").rglob("*"))
    assert expect(doit_oci(here, "reproduce", "b")).strip() == digest
    after = sorted((path, path.lstat().st_mtime_ns) for path in (here / "remote").rglob("*"))
    assert after == before


@pytest.mark.parametrize("kind", ["x.tar", "x.tar.zst", "x"])
def test_an_export_is_imported_elsewhere_with_the_same_digest(
    kind: str, here: Path, tmp_path: Path, digest: str
) -> None:
    expect(doit_oci(here, "export", "b", str(tmp_path / kind)))
    there = tmp_path / "there"
    there.mkdir()
    (there / "images.toml").write_text("")
    result = doit_oci(there, "import", str(tmp_path / kind))
    expect(result)
    assert digest in result.stderr.decode()
    assert (there / "build/bundles/b/rootfs/etc/copy").read_text() == "secret"


def test_exports_of_two_builds_are_the_same_bytes(here: Path, tmp_path: Path) -> None:
    other = project(tmp_path / "other")
    for number, place in enumerate((here, other)):
        expect(doit_oci(place, "export", "b", str(tmp_path / f"{number}.tar.gz")))
    assert (tmp_path / "0.tar.gz").read_bytes() == (tmp_path / "1.tar.gz").read_bytes()


def test_a_cold_runner_with_a_warm_cache_builds_without_the_origin_registry(
    docker_registry: RegistryServer, tmp_path: Path, digest: str
) -> None:
    host = docker_registry.host
    layout = project(tmp_path / "first") / "layout"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{host}/origin/a:1")
    text = IMAGES.replace("oci:layout", f"{host}/origin/a:1")
    text += f'[[registry]]\nprefix = "{host}"\ninsecure = true\n'
    text += f'[cache]\nremote = "oci://{host}/cache/a"\n'
    first, cold = tmp_path / "first", tmp_path / "cold"
    (first / "images.toml").write_text(text + "push = true\n")
    assert expect(doit_oci(first, "digest", "b")).strip() == digest
    expect(doit_oci(first, "cache", "push", "b"))
    cold.mkdir()
    (cold / "images.toml").write_text(text)
    shutil.copy(first / "images.lock", cold)
    before = len(docker_registry.requests())
    assert expect(doit_oci(cold, "digest", "b", "--locked")).strip() == digest
    asked = docker_registry.requests()[before:]
    assert asked
    assert not [line for line in asked if "/origin/" in line]
    assert not [line for line in asked if not line.startswith(("GET", "HEAD"))]


def test_a_cache_that_is_down_costs_a_warning(here: Path, digest: str) -> None:
    with (here / "images.toml").open("a") as file:
        file.write('[[registry]]\nprefix = "127.0.0.1:9"\ninsecure = true\n')
        file.write('[cache]\nremote = "oci://127.0.0.1:9/cache"\npush = true\n')
    assert expect(doit_oci(here, "digest", "b")).strip() == digest
    shutil.rmtree(here / "build")
    result = doit_oci(here, "digest", "b")
    assert expect(result).strip() == digest
    assert "without the remote cache" in result.stderr.decode()


def start(place: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DOOR, *words],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )


@pytest.mark.parametrize("processes", [2, 8])
def test_several_processes_at_once_end_with_one_result(
    processes: int, here: Path, digest: str
) -> None:
    running = [
        start(here, *(["bundle:a", "bundle:b"][:: 1 - 2 * (n % 2)])) for n in range(processes)
    ]
    steps: list[str] = []
    for each in running:
        said = each.communicate(timeout=60)[1].decode()
        assert each.returncode == 0, said
        steps += re.findall(r"^\.  ((?:layout|rootfs|config|bundle):\w+)", said, re.MULTILINE)
    lock = json.loads((here / "images.lock").read_bytes())
    assert sorted(lock["bundles"]) == ["a", "b"]
    stamps = sorted(str(path.relative_to(here)) for path in (here / "build/stamps").rglob("*.json"))
    assert len(stamps) == 7
    assert expect(doit_oci(here, "digest", "b")).strip() == digest
    wanted = [f"{step}:{name}" for step in ("bundle", "config", "rootfs") for name in "ab"]
    assert set(steps) == {*wanted, "layout:a"}


def test_a_build_killed_at_any_moment_ends_the_same(here: Path, digest: str) -> None:
    for milliseconds in (110, 190, 270, 350):
        shutil.rmtree(here / "build", ignore_errors=True)
        build = start(here, "bundle:b")
        time.sleep(milliseconds / 1000)
        build.send_signal(signal.SIGKILL)
        build.communicate()
        assert expect(doit_oci(here, "digest", "b")).strip() == digest
        expect(doit_oci(here, "verify"))
        left = os.listdir(here / "build" / "tmp") if (here / "build" / "tmp").exists() else []
        assert not [name for name in left if name.startswith("unpack-")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_said_and_loses_nothing(here: Path, small_disk: Path, digest: str) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (5 << 20))
    result = doit_oci(here, "bundle:b", "--dir", str(small_disk / "state"))
    expect(result, 1)
    assert "No space left on device" in result.stderr.decode()
    ballast.unlink()
    assert (
        expect(doit_oci(here, "digest", "b", "--dir", str(small_disk / "state"))).strip() == digest
    )


def test_a_disk_without_inodes_is_said(here: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=12", small_disk], check=True)
    result = doit_oci(here, "bundle:b", "--dir", str(small_disk / "state"))
    expect(result, 1)
    assert "No space left on device" in result.stderr.decode()


def test_a_read_only_state_directory_is_said(here: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for words in (["bundle:b"], ["clean"], ["gc"]):
        result = doit_oci(here, *words, "--dir", str(small_disk / "state"))
        expect(result, 1)
        said = result.stderr.decode()
        assert "Read-only file system" in said
        assert "waiting" not in said


def test_shards_split_the_bundles_among_machines(tmp_path: Path) -> None:
    built: list[str] = []
    for number in (1, 2, 3):
        place = tmp_path / f"machine {number}"
        place.mkdir()
        text = ""
        for index in range(6):
            write_layout(place / f"l{index}", tar([item("f", str(index))]))
            text += f'[images.i{index}]\nimage = "oci:l{index}"\n'
            text += f'[bundles.b{index}]\nimage = "i{index}"\n'
        (place / "images.toml").write_text(text)
        expect(doit_oci(place, "bundle", "--shard", f"{number}/3"))
        here = {path.name for path in (place / "build" / "bundles").iterdir()}
        assert here == {name.replace("b", "i") for name in here} | {
            n.replace("i", "b") for n in here
        }
        built += here
    assert sorted(built) == sorted(f"{kind}{index}" for kind in "bi" for index in range(6))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bundle", "--shard", "4/3"], "expected K/N"),
        (["bundle:b", "--shard", "4/3"], "expected K/N"),
        (
            ["bundle:b", "--shard", "1/3"],
            "splits all bundles, or those of a pattern, and b is named",
        ),
        (["lock", "--shard", "1/3"], "lock is no part of that"),
        (["lock", "--check", "--shard", "1/3"], "lock is no part of that"),
        (["gc", "--shard", "1/3"], "gc is no part of that"),
        (["cache", "key", "--shard", "1/3"], "takes neither names nor --shard"),
        (["cache", "push", "b", "--shard", "1/3"], "and b is named"),
    ],
)
def test_what_is_no_shard_is_refused(here: Path, words: list[str], said: str) -> None:
    result = doit_oci(here, *words)
    expect(result, 3)
    assert said in result.stderr.decode()
