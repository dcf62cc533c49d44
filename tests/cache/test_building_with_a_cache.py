"""Builds from the command line with a remote cache declared: it may help, and never harms."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cache.conftest import s3_environment
from tests.support.command import doit_oci, expect, steps_done
from tests.support.docker_registry import RegistryServer, docker_registry, skopeo
from tests.support.layers import item, tar
from tests.support.layout import write_layout

__all__ = ["docker_registry"]

WITHOUT = "without the remote cache"
NAMES = ("a", "b", "c")
ANSWERS = {
    "refuses credentials": b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    "forbids": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "fails": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "speaks no HTTP": b"220 mail.example.org ESMTP\r\n",
    "hangs up": b"",
}


def declare(where: Path, remote: str, more: str = "") -> str:
    """Three images of one layer each, and a cache; the declaration without the cache."""
    text = "".join(f'[images.{name}]\nimage = "oci:layout-{name}"\n' for name in NAMES)
    for name in NAMES:
        if not (where / f"layout-{name}").exists():
            write_layout(where / f"layout-{name}", tar([item("f", name * 2000)]))
    (where / "images.toml").write_text(f'{text}[cache]\nremote = "{remote}"\n{more}')
    return text


def take_away_results(where: Path) -> None:
    shutil.rmtree(where / "build", ignore_errors=True)


class Answering:
    """A server with one answer for everything; ``connections`` counts who asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.connections = answer, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer:
                peer.recv(65536)
                peer.sendall(self.answer)


@pytest.fixture(params=ANSWERS)
def answering(request: pytest.FixtureRequest) -> Iterator[Answering]:
    server = Answering(ANSWERS[request.param])
    yield server
    server.listener.close()


def test_a_cache_that_does_not_work_is_given_up_once_and_the_build_goes_on(
    answering: Answering, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{answering.port}"
    registry = f'[[registry]]\nprefix = "{host}"\ninsecure = true\n'
    (tmp_path / "x").mkdir()
    declare(tmp_path, "file:///nowhere")
    expect(doit_oci(tmp_path, "bundle"))
    lock = (tmp_path / "images.lock").read_bytes()
    take_away_results(tmp_path)
    declare(tmp_path, f"oci://{host}/cache", f"push = true\n{registry}")
    result = doit_oci(tmp_path, "bundle", "--locked")
    expect(result)
    said = result.stderr.decode()
    assert said.count(WITHOUT) == 1, said
    assert len([step for step in steps_done(result) if step.startswith("bundle")]) == len(NAMES)
    assert 0 < answering.connections <= 3
    assert (tmp_path / "images.lock").read_bytes() == lock


def test_an_object_store_that_is_not_there_costs_one_warning(tmp_path: Path) -> None:
    declare(tmp_path, "s3://bucket/cache", "push = true\n")
    nowhere = s3_environment("http://127.0.0.1:9")
    expect(doit_oci(tmp_path, "bundle", env=nowhere))
    take_away_results(tmp_path)
    result = doit_oci(tmp_path, "bundle", "--locked", env=nowhere)
    expect(result)
    assert result.stderr.decode().count(WITHOUT) == 1
    assert len([step for step in steps_done(result) if step.startswith("bundle")]) == len(NAMES)


def test_a_cache_of_web_pages_costs_warnings(tmp_path: Path) -> None:
    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
    host = f"127.0.0.1:{server.port}"
    declare(tmp_path, f"oci://{host}/cache", f'[[registry]]\nprefix = "{host}"\ninsecure = true\n')
    expect(doit_oci(tmp_path, "bundle:a"))
    take_away_results(tmp_path)
    result = doit_oci(tmp_path, "bundle:a", "--locked")
    expect(result)
    assert "expected a JSON document" in result.stderr.decode()
    assert "bundle" in steps_done(result)
    server.listener.close()


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_cache_commands_name_a_cache_that_does_not_answer(verb: str, tmp_path: Path) -> None:
    registry = '[[registry]]\nprefix = "127.0.0.1:9"\ninsecure = true\n'
    declare(tmp_path, "oci://127.0.0.1:9/cache", registry)
    expect(doit_oci(tmp_path, "bundle:a"))
    result = doit_oci(tmp_path, "cache", verb, "a")
    expect(result, 1 if verb == "push" else 0)
    assert "127.0.0.1:9" in result.stderr.decode()


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_the_machines_of_a_matrix_move_each_bundle_once(verb: str, tmp_path: Path) -> None:
    declare(tmp_path, f"file://{tmp_path}/cache")
    expect(doit_oci(tmp_path, "cache", "push"))
    said = [doit_oci(tmp_path, "cache", verb, "--shard", f"{n}/2").stderr.decode() for n in (1, 2)]
    moved = [line.partition(":")[0] for each in said for line in each.splitlines()]
    assert sorted(name for name in moved if name in NAMES) == list(NAMES)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_cache_commands_are_refused_offline_and_builds_go_on(verb: str, tmp_path: Path) -> None:
    registry = '[[registry]]\nprefix = "127.0.0.1:9"\ninsecure = true\n'
    declare(tmp_path, "oci://127.0.0.1:9/cache", "push = true\n" + registry)
    expect(doit_oci(tmp_path, "--offline", "bundle:a"))
    result = doit_oci(tmp_path, "--offline", "cache", verb, "a")
    expect(result, 1)
    assert "remote cache: a: the network is needed for it, and is refused" in result.stderr.decode()


GARBAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "another byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "longer": lambda content: content + b"x",
}


@pytest.mark.parametrize("how", GARBAGE)
@pytest.mark.parametrize("what", ["blobs", "keys"])
def test_whatever_lies_in_the_cache_costs_a_rebuild_and_a_warning(
    what: str, how: str, tmp_path: Path
) -> None:
    declare(tmp_path, f"file://{tmp_path}/remote", "push = true\n")
    digest = expect(doit_oci(tmp_path, "digest", "a"))
    take_away_results(tmp_path)
    for path in (tmp_path / "remote" / what).rglob("*"):
        if path.is_file():
            path.write_bytes(GARBAGE[how](path.read_bytes()))
    declare(tmp_path, f"file://{tmp_path}/remote")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "remote").rglob("*"))
    result = doit_oci(tmp_path, "digest", "a", "--locked")
    assert expect(result) == digest
    assert WITHOUT in result.stderr.decode()
    after = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "remote").rglob("*"))
    assert after == before
    expect(doit_oci(tmp_path, "verify"))


def test_a_build_writes_to_the_cache_only_when_told_to(tmp_path: Path) -> None:
    declare(tmp_path, f"file://{tmp_path}/remote")
    expect(doit_oci(tmp_path, "bundle:a"))
    assert not (tmp_path / "remote").exists()
    declare(tmp_path, f"file://{tmp_path}/remote", "push = true\n")
    take_away_results(tmp_path)
    expect(doit_oci(tmp_path, "bundle:a", "--locked"))
    assert len(list((tmp_path / "remote" / "keys").iterdir())) == 1


def test_a_cold_runner_builds_while_the_origin_is_gone(tmp_path: Path) -> None:
    declare(tmp_path, f"file://{tmp_path}/remote", "push = true\n")
    digest = expect(doit_oci(tmp_path, "digest", "a"))
    take_away_results(tmp_path)
    shutil.rmtree(tmp_path / "layout-a")
    assert expect(doit_oci(tmp_path, "digest", "a", "--locked")) == digest
    take_away_results(tmp_path)
    shutil.rmtree(tmp_path / "remote")
    result = doit_oci(tmp_path, "digest", "a", "--locked")
    expect(result, 1)
    assert "layout-a" in result.stderr.decode()


def test_a_cold_runner_builds_an_image_of_several_platforms_while_the_origin_is_gone(
    tmp_path: Path,
) -> None:
    """The layout is made of all of them, whichever one the bundle is of."""
    text = '[images.a]\nimage = "{}"\nplatforms = ["linux/amd64", "linux/arm64"]\n'
    (tmp_path / "images.toml").write_text(text.format("builtin:hello-world"))
    expect(doit_oci(tmp_path, "export", "a", "layout-a", "--image"))
    cache = f'[cache]\nremote = "file://{tmp_path}/remote"\n'
    (tmp_path / "images.toml").write_text(text.format("oci:layout-a") + cache + "push = true\n")
    digest = expect(doit_oci(tmp_path, "digest", "a"))
    take_away_results(tmp_path)
    shutil.rmtree(tmp_path / "layout-a")
    assert expect(doit_oci(tmp_path, "digest", "a", "--locked")) == digest
    manifests = json.loads((tmp_path / "build/layouts/a/index.json").read_bytes())["manifests"]
    assert len(manifests) == 2


def test_the_blobs_of_the_origin_are_mounted_and_not_sent(
    docker_registry: RegistryServer, tmp_path: Path
) -> None:
    host = docker_registry.host
    declare(tmp_path, f"oci://{host}/cache/mounting")
    skopeo(
        "copy", "--dest-tls-verify=false", f"oci:{tmp_path}/layout-a",
        f"docker://{host}/origin/mounting:1",
    )  # fmt: skip
    text = (tmp_path / "images.toml").read_text()
    text = text.replace('"oci:layout-a"', f'"{host}/origin/mounting:1"')
    (tmp_path / "images.toml").write_text(
        f'{text}[[registry]]\nprefix = "{host}"\ninsecure = true\n'
    )
    expect(doit_oci(tmp_path, "bundle:a"))
    lock = json.loads((tmp_path / "images.lock").read_bytes())
    (platform,) = lock["images"]["a"]["platforms"].values()
    layer = platform["layers"][0]["digest"]
    before = len(docker_registry.requests())
    expect(doit_oci(tmp_path, "cache", "push", "a"))
    asked = [line for line in docker_registry.requests()[before:] if "/cache/mounting/" in line]
    assert [line for line in asked if line.startswith("POST") and layer in line]
    sent = [line for line in asked if line.startswith("PUT") and "/blobs/uploads/" in line]
    assert sent
    assert not [line for line in sent if layer in line.replace("%3A", ":")]
    take_away_results(tmp_path)
    result = doit_oci(tmp_path, "cache", "pull", "a")
    expect(result)
    assert "3 blobs" in result.stderr.decode()


@pytest.fixture
def signing(tmp_path: Path) -> str:
    """A key pair in the project, and the lines that use it."""
    for name in ("cache", "other"):
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return 'push = true\nsigning_key = "cache.key"\nverify_key = "cache.pub"\n'


def test_only_what_a_trusted_key_signed_is_used(tmp_path: Path, signing: str) -> None:
    declare(tmp_path, f"file://{tmp_path}/remote", signing)
    digest = expect(doit_oci(tmp_path, "digest", "a"))
    shutil.rmtree(tmp_path / "layout-a")
    take_away_results(tmp_path)
    assert expect(doit_oci(tmp_path, "digest", "a", "--locked")) == digest
    take_away_results(tmp_path)
    both = signing.replace('"cache.pub"', '["other.pub", "cache.pub"]')
    declare(tmp_path, f"file://{tmp_path}/remote", both)
    shutil.rmtree(tmp_path / "layout-a")
    assert expect(doit_oci(tmp_path, "digest", "a", "--locked")) == digest
    take_away_results(tmp_path)
    declare(tmp_path, f"file://{tmp_path}/remote", signing.replace("cache.pub", "other.pub"))
    shutil.rmtree(tmp_path / "layout-a")
    result = doit_oci(tmp_path, "digest", "a", "--locked")
    expect(result, 1)
    assert "signed by nobody who is trusted" in result.stderr.decode()


def test_an_installation_without_the_extra_is_told_how_to_get_it(
    tmp_path: Path, signing: str
) -> None:
    declare(tmp_path, f"file://{tmp_path}/remote", signing)
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text('import sys\nsys.modules["cryptography"] = None\n')
    path = os.pathsep.join([str(blocked), str(Path(__file__).resolve().parents[2])])
    result = doit_oci(tmp_path, "bundle:a", env={"PYTHONPATH": path})
    expect(result, 3)
    assert "cache.key" in result.stderr.decode()
    assert "hint: pip install 'doit-oci[signing]'" in result.stderr.decode()
