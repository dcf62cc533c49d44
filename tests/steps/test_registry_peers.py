"""Real servers on the way: redirects, limits, tokens that run out, IPv6; held against skopeo."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import DigestMismatch
from tasks.oci.descriptor import Descriptor
from tasks.oci.digest import Digest, digest_bytes
from tasks.store.registry.client import RegistryClient
from tasks.store.registry.credentials import auth_files
from tasks.store.registry.endpoint import Endpoint
from tasks.store.registry.push import has_blob, push_blob, push_bytes, push_manifest
from tasks.store.transports.sources import Sources
from tests.support.certificates import Authority
from tests.support.command import doit_oci
from tests.support.docker_registry import RegistryServer, free_port, need, skopeo
from tests.support.fake_registry import FakeRegistry
from tests.support.guarded import (
    IMAGE,
    SECRET,
    USER,
    encoded,
    guarded,
    in_home,
    running_token_registry,
    write_json,
)
from tests.support.images import Document, layer, make_image, push, sha256
from tests.support.nginx import running_nginx
from tests.support.pulling import QUICK, Noting, Puller

SIGNATURE = "hunter2"
LOG = "log_format all '$request_uri|$http_authorization|$http_cookie';"


__all__ = ["guarded"]


def digest_by_skopeo(place: str, *, credentials: str = "") -> str:
    """The digest that skopeo finds there."""
    flags = ["--tls-verify=false", *(["--creds", credentials] if credentials else [])]
    return str(json.loads(skopeo("inspect", *flags, f"docker://{place}"))["Digest"])


@contextlib.contextmanager
def redirecting(
    folder: Path, guarded: RegistryServer, *, status: int = 307, elsewhere: str = "127.0.0.1"
) -> Iterator[tuple[str, Path]]:
    """The guarded registry behind an nginx that redirects blobs to another, with a signature.

    Its host, and the log of what the other was asked, with credentials and cookies.
    """
    log = folder / "asked"
    storage = (
        f"access_log {log} all; location / {{ proxy_pass http://{guarded.host}; "
        f"proxy_set_header Authorization 'Basic {encoded()}'; }}"
    )
    with running_nginx(folder / "storage", http=LOG, server=storage) as there:
        target = f"http://{elsewhere}:{there.rpartition(':')[2]}$request_uri?signature={SIGNATURE}"
        front = (
            f"proxy_set_header Host $http_host; location / {{ proxy_pass http://{guarded.host}; }} "
            f"location ~ /blobs/ {{ if ($http_authorization) {{ return {status} {target}; }} "
            f"proxy_pass http://{guarded.host}; }} "
            "add_header Set-Cookie 'session=secret; Path=/' always;"
        )
        with running_nginx(folder / "front", server=front) as host:
            yield host, log


@pytest.mark.parametrize("elsewhere", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", [302, 307])
def test_credentials_stay_behind_where_a_real_server_redirects_blobs(
    elsewhere: str, status: int, guarded: RegistryServer, puller: Puller, tmp_path: Path
) -> None:
    front = redirecting(tmp_path, guarded, status=status, elsewhere=elsewhere)
    with front as (host, log):
        in_home(puller, host)
        puller.pull(f"{host}/team/app:1")
        asked = log.read_text().splitlines()
        theirs = digest_by_skopeo(f"{host}/team/app:1", credentials=f"{USER}:{SECRET}")
    assert puller.stored() == {theirs, *IMAGE.blobs}
    assert len(asked) >= len(IMAGE.blobs)
    for line in asked:
        address, authorization, cookie = line.split("|")
        assert address.endswith(f"?signature={SIGNATURE}")
        assert (authorization, cookie) == ("-", "-")
    assert SIGNATURE not in "".join(puller.progress.notes)


@pytest.mark.parametrize("is_known", [True, False], ids=["let in", "refused"])
def test_nothing_secret_is_said_or_left_on_the_disk(
    is_known: bool, guarded: RegistryServer, tmp_path: Path
) -> None:
    password = SECRET if is_known else "hunter3"
    project = tmp_path / "project"
    project.mkdir()
    with redirecting(tmp_path, guarded) as (host, _):
        write_json(
            tmp_path / "docker/config.json",
            {"auths": {host: {"auth": encoded(secret=password)}}},
        )
        (project / "images.toml").write_text(
            f'[[registry]]\nprefix = "{host}"\ninsecure = true\n'
            f'[images.a]\nimage = "{host}/team/app:1"\nplatforms = ["linux/amd64"]\n'
        )
        env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "HOME": str(tmp_path)}
        for words in (["layout:a", "--json"], ["lock", "--update"], ["inspect", "a"], ["report"]):
            done = doit_oci(project, *words, env=env)
            said = done.stdout + done.stderr
            left = [path.read_bytes() for path in project.rglob("*") if path.is_file()]
            for secret in (password, encoded(secret=password), SIGNATURE, "session=secret"):
                assert not [each for each in (said, *left) if secret.encode() in each], words
        assert (project / "images.lock").exists() == is_known


class Dawdling(Noting):
    """Takes its time before the second blob."""

    count = 0

    def start(self, kind: str, subject: str, total: int | None = None, why: str = "") -> int:
        self.count += kind == "blob"
        if self.count == 2:
            time.sleep(3.5)
        return 0


def test_token_that_a_real_registry_takes_no_more_is_renewed_in_mid_pull(
    tmp_path: Path, authority: Authority, puller: Puller
) -> None:
    image = make_image(*(layer(size=5000, seed=number) for number in range(4)))
    with running_token_registry(tmp_path, authority, image=image, is_public=True) as (
        registry,
        server,
    ):
        name = f"{registry.host}/a:1"
        locked = puller.resolve(name)
        server.asked.clear()
        server.holds.append(2)
        puller.progress, puller.sources = Dawdling(), Sources()
        puller.fetch(name, locked, jobs=1)
    assert puller.stored() == {image.digest, *image.blobs}
    assert (puller.progress.count, len(server.asked)) == (4, 2)


def test_registry_at_an_ipv6_address(
    docker_registry: RegistryServer, tmp_path: Path, puller: Puller
) -> None:
    push(docker_registry.host, "six/app", "1", IMAGE)
    port = free_port()
    front = (
        f"listen [::1]:{port}; location / {{ proxy_pass http://{docker_registry.host}; "
        "proxy_set_header Host $http_host; }"
    )
    with running_nginx(tmp_path / "nginx", server=front):
        place = f"[::1]:{port}/six/app:1"
        locked = puller.pull(place)
    assert locked.reference == place
    # skopeo 1.9 knows no such hosts: it looks at the registry itself.
    assert puller.stored() == {digest_by_skopeo(f"{docker_registry.host}/six/app:1"), *IMAGE.blobs}


@pytest.mark.parametrize("place", ["session", "docker", "alone"])
def test_login_of_a_real_tool_is_found(
    place: str, guarded: RegistryServer, puller: Puller, tmp_path: Path
) -> None:
    folder = tmp_path / place
    (folder / "containers").mkdir(parents=True)
    variable, path = {
        "session": ("XDG_RUNTIME_DIR", folder / "containers/auth.json"),
        "docker": ("DOCKER_CONFIG", folder / "config.json"),
        "alone": ("REGISTRY_AUTH_FILE", folder / "any.json"),
    }[place]
    login = ["login", "--tls-verify=false", "--authfile", str(path), "-u", USER, "-p", SECRET]
    subprocess.run([need("skopeo"), *login, guarded.host], check=True, capture_output=True)
    puller.environ[variable] = str(path if place == "alone" else folder)
    puller.pull(f"{guarded.host}/team/app:1")
    assert puller.stored() >= set(IMAGE.blobs)


def test_login_without_a_session_is_looked_for_where_podman_puts_it() -> None:
    found = auth_files({"HOME": "/home/x"})
    assert [str(path) for path in found] == [
        f"/run/containers/{os.getuid()}/auth.json",
        "/home/x/.config/containers/auth.json",
        "/home/x/.docker/config.json",
    ]


def renamed(image: Document) -> tuple[bytes, dict[Digest, bytes]]:
    """An image's manifest and blobs, all named by sha512."""
    manifest = json.loads(image.raw)
    blobs = {}
    for entry in (manifest["config"], *manifest["layers"]):
        content = image.blobs[entry["digest"]]
        digest = digest_bytes(content, "sha512")
        entry["digest"] = str(digest)
        blobs[digest] = content
    return json.dumps(manifest).encode(), blobs


def test_blobs_named_by_sha512_come_from_a_real_registry(
    docker_registry: RegistryServer, puller: Puller
) -> None:
    raw, blobs = renamed(IMAGE)
    client = uploading(docker_registry.host, "longer/app", Noting())
    for digest, content in blobs.items():
        push_bytes(client, Descriptor(media_type="x", digest=digest, size=len(content)), content)
    push_manifest(client, raw, media_type=IMAGE.media_type, reference="1")
    client.close()
    place = f"{docker_registry.host}/longer/app:1"
    puller.pull(place)
    assert puller.stored() == {sha256(raw), *map(str, blobs)}
    for digest, content in blobs.items():
        assert puller.store.path(digest).read_bytes() == content
    # skopeo 1.9 takes the configuration's digest for one by sha256, and refuses it.
    assert skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{place}") == raw


def test_manifest_named_by_sha512(fake_registry: FakeRegistry, puller: Puller) -> None:
    raw, blobs = renamed(IMAGE)
    digest = digest_bytes(raw, "sha512")
    fake_registry.manifests[str(digest)] = (raw, IMAGE.media_type)
    fake_registry.digests[str(digest)] = str(digest)
    fake_registry.blobs |= {str(each): content for each, content in blobs.items()}
    name = f"{fake_registry.host}/a@{digest}"
    assert puller.pull(name).reference == name
    assert puller.stored() == {str(digest), *map(str, blobs)}
    fake_registry.manifests[str(digest)] = (raw + b" ", IMAGE.media_type)
    puller.store.discard(digest)
    with pytest.raises(DigestMismatch):
        puller.resolve(name)


def uploading(host: str, repository: str, progress: Noting) -> RegistryClient:
    return RegistryClient(
        Endpoint(host=host, repository=repository, name=f"{host}/up", insecure=True),
        environ={},
        progress=progress,
        limits=QUICK.replacing(retry_after_cap=3.0),
    )


def test_upload_waits_as_long_as_a_real_server_says(
    docker_registry: RegistryServer, tmp_path: Path
) -> None:
    limits = (
        "map $request_method $who { PUT $binary_remote_addr; } map $status $later { 429 1; } "
        "limit_req_zone $who zone=one:1m rate=1r/s; limit_req_status 429;"
    )
    proxied = (
        f"location / {{ limit_req zone=one; proxy_pass http://{docker_registry.host}; "
        "proxy_set_header Host $http_host; proxy_request_buffering off; "
        "add_header Retry-After $later always; }"
    )
    progress = Noting()
    with running_nginx(tmp_path / "nginx", http=limits, server=proxied) as host:
        client = uploading(host, "limited/up", progress)
        began = time.monotonic()
        for number in range(2):
            content = bytes([number]) * 100_000
            path = tmp_path / f"blob{number}"
            path.write_bytes(content)
            found = Descriptor(media_type="x", digest=digest_bytes(content), size=len(content))
            push_blob(client, found, path)
            assert has_blob(client, found)
        client.close()
    (note,) = (note for note in progress.notes if "429" in note)
    assert time.monotonic() - began >= 1.0, note
