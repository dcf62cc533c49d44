"""Remote caches of every kind against one suite: a cold store is filled, nothing is believed."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from s3fs import S3FileSystem

from tasks.errors import ContentError, DeclarationError, RegistryError, StoreError
from tasks.oci.cache_record import parse_record
from tasks.oci.digest import digest_bytes
from tasks.oci.media_type import OCI_LAYER_GZIP
from tasks.store.remote.cache import open_cache
from tasks.store.remote.fsspec_cache import shown
from tasks.store.remote.registry_cache import PATIENCE
from tests.cache.built import KEY, Built, Cold
from tests.cache.conftest import Heard, Place, registry_place, s3_environment
from tests.support.certificates import make_authority
from tests.support.guarded import running_token_registry
from tests.support.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.support.docker_registry import RegistryServer

WITHOUT = "building without the remote cache"


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return Built(tmp_path / "built")


@pytest.fixture
def cold(tmp_path: Path) -> Cold:
    return Cold(tmp_path / "cold")


@pytest.fixture
def directory(tmp_path: Path) -> Place:
    return Place(f"file://{tmp_path}/remote")


def test_a_cold_store_is_filled_from_the_cache(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    assert built.push(place, heard).bundle_digest == built.digest
    found = cold.pull(place, built, heard)
    assert found is not None
    assert (found.bundle_digest, found.blobs) == (built.digest, 5)
    assert cold.holds(built)
    assert heard.notes == []
    assert not [name for name in os.listdir(cold.tmp) if name.startswith("cache-")]


def test_nothing_is_sent_or_fetched_twice(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    assert built.push(place, heard).bytes > 3 << 20
    again = built.push(place, heard, key="cd" * 32)
    assert (again.blobs, again.bytes) == (0, 0)
    cold.pull(place, built, heard)
    pulled = cold.pull(place, built, heard)
    assert pulled is not None
    assert pulled.blobs == 0


def test_an_unknown_key_is_a_quiet_miss(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    assert cold.pull(place, built, heard) is None
    built.push(place, heard)
    assert cold.pull(place, built, heard, key="ef" * 32) is None
    assert heard.notes == []


def test_a_hit_with_a_missing_blob_is_a_miss_that_the_next_push_mends(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(place, heard)
    place.open().discard("no such key", built.descriptors[2:3])
    assert cold.pull(place, built, heard) is None
    assert WITHOUT in heard.notes[-1]
    assert built.push(place, heard).blobs == 1
    assert cold.pull(place, built, heard) is not None
    assert cold.holds(built)


def test_a_record_of_other_blobs_than_the_locks_is_a_miss(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(place, heard)
    other = built.put(b"another layer", OCI_LAYER_GZIP)
    built.descriptors = (*built.descriptors[:4], other)
    assert cold.pull(place, built, heard) is None
    assert "which the lock names" in heard.notes[-1]
    assert not cold.blobs.exists()


@pytest.mark.parametrize(
    "record",
    [b"", b"{}", b"[]", b"\xff", b"null", b'{"schemaVersion": 2, "layers": []}', b"x" * 5_000_000],
    ids=["nothing", "object", "list", "not utf-8", "null", "no record", "too large"],
)
def test_a_damaged_record_is_a_miss_with_a_warning(
    record: bytes, tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    (tmp_path / "remote" / "keys" / f"ac-{KEY}.json").write_bytes(record)
    assert cold.pull(directory, built, heard) is None
    assert WITHOUT in heard.notes[-1]


@pytest.mark.parametrize("which", range(7))
def test_a_damaged_blob_is_never_used_and_the_next_push_mends_it(
    which: int, tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    raw = (tmp_path / "remote" / "keys" / f"ac-{KEY}.json").read_bytes()
    contents = parse_record(raw, key=KEY, subject="").contents
    damaged = tmp_path / "remote" / "blobs" / "sha256" / contents[which].digest.encoded
    content = bytearray(damaged.read_bytes()) or bytearray(1)
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert cold.pull(directory, built, heard) is None
    assert WITHOUT in heard.notes[-1]
    # Others may have fetched what is good: only the damaged one is missing in the second try.
    assert cold.pull(directory, built, heard, may_write=True) is None
    assert not damaged.exists()
    # What arrived whole is left to others.
    assert len(list(damaged.parent.iterdir())) == (6 if which < 5 else 5)
    built.push(directory, heard)
    assert cold.pull(directory, built, heard) is not None
    assert cold.holds(built)


def test_pulling_without_permission_to_write_writes_nothing(
    tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    victim = tmp_path / "remote" / "blobs" / "sha256" / built.descriptors[0].digest.encoded
    victim.write_bytes(b"damaged content")
    before = sorted(str(path) for path in (tmp_path / "remote").rglob("*"))
    assert cold.pull(directory, built, heard) is None
    assert sorted(str(path) for path in (tmp_path / "remote").rglob("*")) == before
    assert victim.read_bytes() == b"damaged content"


def test_a_record_under_another_key_is_a_miss(
    tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    keys = tmp_path / "remote" / "keys"
    (keys / f"ac-{KEY}.json").rename(keys / f"ac-{'99' * 32}.json")
    assert cold.pull(directory, built, heard, key="99" * 32) is None
    assert "another key" in heard.notes[-1]


def test_a_cache_that_does_not_answer_costs_a_warning(
    built: Built, cold: Cold, heard: Heard
) -> None:
    place = registry_place("127.0.0.1:1", "cache/none")
    assert cold.pull(place, built, heard) is None
    assert WITHOUT in heard.notes[-1]
    with pytest.raises(RegistryError):
        built.push(place, heard)


class Slow(BaseHTTPRequestHandler):
    """A store that has everything, and whose answers never end; silent where told so."""

    is_silent = False

    def do_HEAD(self) -> None:
        if self.is_silent:
            time.sleep(30)
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.send_header("ETag", '"x"')
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.2)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "a drip"])
def test_a_store_that_never_comes_to_an_end_is_given_up(
    is_silent: bool, built: Built, cold: Cold, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = type("Handler", (Slow,), {"is_silent": is_silent})
    monkeypatch.setattr("tasks.store.remote.fsspec_cache.SOON", 1.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.block_on_close = True, False
    for name, value in s3_environment(f"http://127.0.0.1:{server.server_port}").items():
        monkeypatch.setenv(name, value)
    # fsspec keeps what it opened before, with the address of another server.
    S3FileSystem.clear_instance_cache()
    with serving(server):
        assert cold.pull(Place("s3://cache/slow"), built, heard) is None
    S3FileSystem.clear_instance_cache()
    (note,) = heard.notes
    assert "no answer within 1 seconds" in note
    assert WITHOUT in note


def test_a_damaged_local_blob_is_not_pushed(place: Place, built: Built, heard: Heard) -> None:
    path = built.path(built.descriptors[2])
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContentError):
        built.push(place, heard)
    assert place.open().load(KEY) is None


def test_pushing_what_is_not_built_says_so(place: Place, built: Built, heard: Heard) -> None:
    built.path(built.descriptors[4]).unlink()
    with pytest.raises(StoreError):
        built.push(place, heard)
    assert place.open().load(KEY) is None


def test_a_push_that_was_killed_leaves_no_record_and_is_continued(
    place: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    cache = place.open(heard)
    for each in built.descriptors[:3]:
        cache.put_blob(each, built.path(each))
    assert cold.pull(place, built, heard) is None
    assert built.push(place, heard).bytes < 1 << 20
    assert cold.pull(place, built, heard) is not None


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Two key pairs of openssl's: ours and a stranger's."""
    found: dict[str, Path] = {}
    for name in ("ours", "strangers"):
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
        found |= {name: private, f"{name}.pub": public}
    return found


def test_a_signed_record_is_used_by_those_who_trust_the_key(
    place: Place, built: Built, cold: Cold, heard: Heard, keys: dict[str, Path]
) -> None:
    built.push(place, heard, signer=keys["ours"])
    trusted = (keys["strangers.pub"], keys["ours.pub"])
    assert cold.pull(place, built, heard, trusted=trusted) is not None
    assert cold.holds(built)


@pytest.mark.parametrize(
    ("signer", "why"), [("", "is not signed"), ("strangers", "nobody who is trusted")]
)
def test_what_we_did_not_sign_is_a_miss(
    signer: str, why: str, directory: Place, built: Built, cold: Cold, heard: Heard,
    keys: dict[str, Path],
) -> None:  # fmt: skip
    built.push(directory, heard, signer=keys[signer] if signer else None)
    assert cold.pull(directory, built, heard, trusted=(keys["ours.pub"],)) is None
    assert why in heard.notes[-1]
    assert not cold.blobs.exists()


def test_a_signature_does_not_survive_a_change(
    tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard, keys: dict[str, Path]
) -> None:
    built.push(directory, heard, signer=keys["ours"])
    path = tmp_path / "remote" / "keys" / f"ac-{KEY}.json"
    record = json.loads(path.read_bytes())
    record["annotations"]["doit-oci.bundle-digest"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(record))
    assert cold.pull(directory, built, heard, trusted=(keys["ours.pub"],)) is None
    assert "nobody who is trusted" in heard.notes[-1]


def change_record(where: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the record of a cache in a directory."""
    path = where / "remote" / "keys" / f"ac-{KEY}.json"
    record = json.loads(path.read_bytes())
    change(record)
    path.write_text(json.dumps(record))


def test_a_record_of_another_digest_than_the_locks_is_a_miss(
    directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    pushed = built.digest
    built.config_json.write_bytes(b"{}")
    assert cold.pull(directory, built, heard) is None
    assert f"expected digest {built.digest}, got {pushed}" in heard.notes[-1]
    assert not cold.blobs.exists()


def test_a_digest_that_config_and_entries_do_not_give_is_a_miss(
    tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    other = gzip.compress(b"other entries")
    found = digest_bytes(other)
    (tmp_path / "remote" / "blobs" / "sha256" / found.encoded).write_bytes(other)
    more = {"digest": str(found), "size": len(other)}
    change_record(tmp_path, lambda record: record["layers"][-1].update(more))
    assert cold.pull(directory, built, heard) is None
    assert f"expected digest {built.digest}" in heard.notes[-1]


def test_a_record_cannot_ask_for_any_amount_of_bytes(
    tmp_path: Path, directory: Place, built: Built, cold: Cold, heard: Heard
) -> None:
    built.push(directory, heard)
    change_record(tmp_path, lambda record: record["layers"][-1].update(size=1 << 40))
    assert cold.pull(directory, built, heard) is None
    assert "of 1099511627776 bytes" in heard.notes[-1]


def test_a_directory_that_does_not_answer_is_given_up(
    tmp_path: Path,
    directory: Place,
    built: Built,
    cold: Cold,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built.push(directory, heard)
    path = tmp_path / "remote" / "keys" / f"ac-{KEY}.json"
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr("tasks.store.remote.fsspec_cache.SOON", 0.2)
    assert cold.pull(directory, built, heard) is None
    assert "no answer within" in heard.notes[-1]


@pytest.fixture
def other_keys(tmp_path: Path) -> Path:
    """Files that are no Ed25519 key in PEM form without a passphrase."""
    genpkey = ["openssl", "genpkey", "-out"]
    rsa, locked = tmp_path / "rsa", tmp_path / "encrypted"
    for path, more in (
        (rsa, ["-algorithm", "RSA"]),
        (locked, ["-algorithm", "ed25519", "-aes256", "-pass", "pass:x"]),
    ):
        subprocess.run([*genpkey, path, *more], check=True, capture_output=True)
    (tmp_path / "text").write_text("not a key")
    (tmp_path / "directory").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", r"is no Ed25519 private key in PEM form(.|\n)*openssl genpkey"),
        ("rsa", "is no Ed25519 private key"),
        ("encrypted", "a key without a passphrase is needed"),
        ("ours.pub", "is no Ed25519 private key"),
        ("directory", "Is a directory"),
        ("nowhere", "No such file"),
    ],
)
def test_what_cannot_sign_is_said_before_anything_is_sent(
    name: str, said: str, other_keys: Path, place: Place, built: Built, heard: Heard,
    keys: dict[str, Path],
) -> None:  # fmt: skip
    with pytest.raises(DeclarationError, match=said):
        built.push(place, heard, signer=keys.get(name, other_keys / name))
    cache = place.open()
    assert not any(cache.has_blob(each) for each in built.descriptors)


@pytest.mark.parametrize("name", ["text", "rsa", "encrypted", "ours", "nowhere"])
def test_what_cannot_verify_is_the_declarations_fault(
    name: str, other_keys: Path, directory: Place, built: Built, cold: Cold, heard: Heard,
    keys: dict[str, Path],
) -> None:  # fmt: skip
    built.push(directory, heard, signer=keys["ours"])
    said = "No such file" if name == "nowhere" else r"no Ed25519 public key(.|\n)*openssl pkey"
    with pytest.raises(DeclarationError, match=said):
        cold.pull(directory, built, heard, trusted=(keys.get(name, other_keys / name),))


def test_a_registry_that_has_the_image_stores_nothing_twice(
    docker_registry: RegistryServer, built: Built, heard: Heard
) -> None:
    built.push(registry_place(docker_registry.host, "team/image"), heard)
    cache = registry_place(docker_registry.host, "cache/mounted").open(heard, "team/image")
    for each in built.descriptors:
        assert not cache.has_blob(each)
        assert cache.put_blob(each, built.path(each)) == 0
        assert cache.has_blob(each)


def test_one_token_serves_a_whole_pull(
    built: Built, cold: Cold, heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    with running_token_registry(tmp_path / "guarded", authority) as (registry, tokens):
        known = {"auths": {registry.host: {"username": "root", "password": "x"}}}
        (tmp_path / "auth.json").write_text(json.dumps(known))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        place = registry_place(registry.host, "cache/tokens")
        built.push(place, heard)
        tokens.asked.clear()
        assert cold.pull(place, built, heard) is not None
        assert [each["scope"] for each in tokens.asked] == ["repository:cache/tokens:pull"]


def test_other_tools_read_the_record_as_an_artifact(
    docker_registry: RegistryServer, built: Built, heard: Heard
) -> None:
    built.push(registry_place(docker_registry.host, "cache/skopeo"), heard)
    name = f"docker://{docker_registry.host}/cache/skopeo:ac-{KEY}"
    found = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", name], check=True, capture_output=True
    )
    manifest = json.loads(found.stdout)
    assert manifest["artifactType"] == "application/vnd.doit-oci.bundle.v1"
    assert len(manifest["layers"]) == 7


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "/a/path",
            "nonsense://x",
            "oci://127.0.0.1/UPPER",
            "oci://cache",
            "oci://team/cache",
        ),
        *("oci://index.docker.io/team/cache", "oci://127.0.0.1:5000/cache:tag"),
        *(f"oci://127.0.0.1:5000/cache@sha256:{'0' * 64}", "oci://127.0.0.1:5000"),
    ],
)
def test_what_is_no_address_of_a_cache_is_refused(url: str, heard: Heard) -> None:
    with pytest.raises(DeclarationError):
        open_cache(url, environ={}, progress=heard)


def test_a_registry_that_does_not_answer_costs_half_a_minute_at_most() -> None:
    silent_document = PATIENCE.attempts * PATIENCE.document_time
    silent_blob = PATIENCE.attempts**2 * PATIENCE.read_timeout
    crawling_blob = (PATIENCE.drops + 1) * PATIENCE.stall_time
    assert max(silent_document, silent_blob, crawling_blob) <= 30


def test_credentials_in_an_address_are_not_shown() -> None:
    assert shown("s3://key:secret@bucket/path?token=x") == "s3://bucket/path"
