"""Logging in: every place credentials come from, real registries that want them, and nobody else
who gets to see them."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import AuthenticationFailed
from tasks.oci.registry_settings import Registry
from tests.support.certificates import Authority
from tests.support.command import doit_oci, expect
from tests.support.docker_registry import RegistryServer
from tests.support.fake_registry import FakeRegistry, Handler
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
from tests.support.images import layer, make_image
from tests.support.pulling import Puller
from tests.support.token_server import running_token_server

__all__ = ["guarded"]


def helper(puller: Puller, name: str, script: str) -> None:
    """A credential helper on the puller's PATH."""
    folder = puller.state.parent / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    puller.environ["PATH"] = f"{folder}:{puller.environ['PATH']}"


def in_auth_file(puller: Puller, host: str) -> None:
    path = write_json(puller.state.parent / "a.json", {"auths": {host: {"auth": encoded()}}})
    puller.environ["REGISTRY_AUTH_FILE"] = str(path)


def in_runtime_folder(puller: Puller, host: str) -> None:
    folder = puller.state.parent / "run"
    write_json(folder / "containers" / "auth.json", {"auths": {host: {"auth": encoded()}}})
    puller.environ["XDG_RUNTIME_DIR"] = str(folder)


def in_docker_config(puller: Puller, host: str) -> None:
    folder = puller.state.parent / "docker"
    write_json(folder / "config.json", {"auths": {f"https://{host}/v1/": {"auth": encoded()}}})
    puller.environ["DOCKER_CONFIG"] = str(folder)


def in_namespaced_keys(puller: Puller, host: str) -> None:
    wrong = {"auth": encoded("no", "no")}
    in_home(puller, host)
    path = Path(puller.environ["HOME"]) / ".config" / "containers" / "auth.json"
    keys = {f"{host}/team/app": {"auth": encoded()}, f"{host}/team": wrong, host: wrong}
    write_json(path, {"auths": keys})


def in_second_file(puller: Puller, host: str) -> None:
    path = Path(puller.environ["HOME"]) / ".config" / "containers" / "auth.json"
    write_json(path, {"auths": {"other.example": {"auth": encoded("no", "no")}, host: {}}})
    in_home(puller, host)


def behind_damaged_file(puller: Puller, host: str) -> None:
    write_json(Path(puller.environ["HOME"]) / ".config" / "containers" / "auth.json", "{")
    in_home(puller, host)


ANSWER = json.dumps({"ServerURL": "x", "Username": USER, "Secret": SECRET})


def in_helper(puller: Puller, host: str) -> None:
    helper(puller, "tests", f"""test "$(cat)" = {host} && test $1 = get && echo '{ANSWER}'""")
    path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
    write_json(path, {"credHelpers": {host: "tests"}, "credsStore": "none-of-that-name"})


def in_store(puller: Puller, host: str) -> None:
    helper(puller, "tests", f"cat >/dev/null; echo '{ANSWER}'")
    path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
    write_json(path, {"credsStore": "tests", "auths": {host: {}}})


PLACES = [
    in_auth_file,
    in_runtime_folder,
    in_docker_config,
    in_home,
    in_namespaced_keys,
    in_second_file,
    behind_damaged_file,
    in_helper,
    in_store,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_password_is_found(
    place: Callable[[Puller, str], None], guarded: RegistryServer, puller: Puller
) -> None:
    place(puller, guarded.host)
    puller.pull(f"{guarded.host}/team/app:1")
    assert puller.stored() >= {IMAGE.digest, *IMAGE.blobs}


def test_password_comes_from_the_variables_that_images_toml_names(
    guarded: RegistryServer, puller: Puller
) -> None:
    settings = (
        Registry(
            prefix=guarded.host, insecure=True, username_env="REG_USER", password_env="REG_PASS"
        ),
    )
    puller.environ |= {"REG_USER": USER, "REG_PASS": SECRET}
    puller.pull(f"{guarded.host}/team/app:1", registries=settings)
    del puller.environ["REG_PASS"]
    with pytest.raises(AuthenticationFailed):
        puller.resolve(f"{guarded.host}/team/app:2", registries=settings)
    assert any("REG_PASS is not set" in note for note in puller.progress.notes)


def test_missing_password_says_how_to_log_in(guarded: RegistryServer, puller: Puller) -> None:
    with pytest.raises(AuthenticationFailed, match=f"podman login {guarded.host}"):
        puller.resolve(f"{guarded.host}/team/app:1")


def test_refused_password_is_not_said(guarded: RegistryServer, puller: Puller) -> None:
    path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
    write_json(path, {"auths": {guarded.host: {"auth": encoded(secret="hunter2")}}})
    with pytest.raises(AuthenticationFailed, match="not accepted") as caught:
        puller.resolve(f"{guarded.host}/team/app:1")
    everything = str(caught.value) + "".join(puller.progress.notes)
    assert "hunter2" not in everything
    assert encoded(secret="hunter2") not in everything


def test_netrc_is_no_login(guarded: RegistryServer, puller: Puller) -> None:
    netrc = Path(puller.environ["HOME"]) / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password '{SECRET}'\n")
    with pytest.raises(AuthenticationFailed):
        puller.resolve(f"{guarded.host}/team/app:1")


BROKEN = {
    "is missing": ("absent", None),
    "fails": ("broken", "exit 3"),
    "talks nonsense": ("broken", "echo hello"),
    "has a path for a name": ("../../bin/true", None),
}


@pytest.mark.parametrize("field", ["credsStore", "credHelpers"])
@pytest.mark.parametrize(("name", "script"), BROKEN.values(), ids=BROKEN)
def test_helper_that_does_not_work_is_passed_over_on_a_public_image(
    name: str, script: str | None, field: str, tmp_path: Path, puller: Puller, authority: Authority
) -> None:
    if script:
        helper(puller, name, script)
    with running_token_registry(tmp_path, authority, is_public=True) as (registry, _):
        found = {"credsStore": name, "credHelpers": {registry.host: name}}
        path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
        write_json(path, {field: found[field]})
        puller.pull(f"{registry.host}/a:1")
    assert any("going on anonymously" in note for note in puller.progress.notes)


def test_anonymous_token_pulls_a_public_image(
    tmp_path: Path, puller: Puller, authority: Authority
) -> None:
    with running_token_registry(tmp_path, authority, is_public=True) as (registry, server):
        puller.pull(f"{registry.host}/a:1")
    assert puller.stored() >= {IMAGE.digest, *IMAGE.blobs}
    scopes = {asked["scope"] for asked in server.asked}
    assert scopes == {"repository:a:pull"}
    assert len(server.asked) == 1  # for the lock and for the blobs


def test_one_command_asks_for_one_token(tmp_path: Path, authority: Authority) -> None:
    with running_token_registry(tmp_path, authority, is_public=True) as (registry, server):
        (tmp_path / "images.toml").write_text(
            f'[[registry]]\nprefix = "{registry.host}"\ninsecure = true\n'
            f'[images.a]\nimage = "{registry.host}/a:1"\n'
        )
        expect(doit_oci(tmp_path, "layout:a"))
        assert len(server.asked) == 1


def test_token_for_a_user(tmp_path: Path, puller: Puller, authority: Authority) -> None:
    with running_token_registry(tmp_path, authority, users={USER: SECRET}) as (registry, server):
        with pytest.raises(AuthenticationFailed, match="token server"):
            puller.resolve(f"{registry.host}/a:1")
        in_home(puller, registry.host)
        puller.pull(f"{registry.host}/a:1")
    assert server.asked[-1]["account"] == USER


def test_identity_token_is_traded_for_a_token(
    tmp_path: Path, puller: Puller, authority: Authority
) -> None:
    with running_token_registry(tmp_path, authority, refresh_tokens={"identity"}) as (
        registry,
        server,
    ):
        path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
        write_json(path, {"auths": {registry.host: {"identitytoken": "identity"}}})
        puller.pull(f"{registry.host}/a:1")
    asked = server.asked[-1]
    assert (asked["method"], asked["grant_type"]) == ("POST", "refresh_token")
    assert asked["authorization"] == ""


def test_busy_token_server_is_asked_again(
    tmp_path: Path, puller: Puller, authority: Authority
) -> None:
    with running_token_registry(tmp_path, authority, is_public=True) as (registry, server):
        server.failures = [503, 429]
        puller.resolve(f"{registry.host}/a:1")


def wants_token(fake: FakeRegistry, realm: str, good: Callable[[str], bool]) -> None:
    """Put a challenge before everything whose token is not good."""

    def guard(handler: Handler) -> bool:
        if good(handler.headers.get("Authorization", "")):
            return False
        handler.answer(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')
        return True

    fake.behaviours.append(guard)


def test_token_that_runs_out_in_mid_pull_is_renewed(
    fake_registry: FakeRegistry, puller: Puller, authority: Authority
) -> None:
    image = fake_registry.add(make_image(*(layer(size=5000, seed=n) for n in range(4))))
    uses: dict[str, int] = {}

    def good(authorization: str) -> bool:
        uses[authorization] = uses.get(authorization, 0) + 1
        return bool(authorization) and uses[authorization] <= 2

    with running_token_server(authority.sign("signer"), is_public=True) as server:
        wants_token(fake_registry, server.url, good)
        name = f"{fake_registry.host}/a:1"
        puller.fetch(name, puller.resolve(name), jobs=1)
    assert puller.stored() == {image.digest, *image.blobs}
    assert len(server.asked) >= 3


@pytest.mark.parametrize("lifetime", [1, 0, -5])
def test_token_past_its_time_is_renewed_before_it_is_refused(
    lifetime: int, fake_registry: FakeRegistry, puller: Puller, authority: Authority
) -> None:
    fake_registry.add(make_image(*(layer(size=500, seed=n) for n in range(3))))
    with running_token_server(authority.sign("s"), is_public=True, lifetime=lifetime) as server:
        wants_token(fake_registry, server.url, bool)
        puller.pull(f"{fake_registry.host}/a:1")
    assert server.asked


def test_credentials_stay_away_from_a_foreign_token_server(
    fake_registry: FakeRegistry, puller: Puller, authority: Authority
) -> None:
    fake_registry.add(make_image())
    with running_token_server(authority.sign("signer"), is_public=True) as server:
        realm = server.url.replace("127.0.0.1", "localhost")
        wants_token(fake_registry, realm, bool)
        in_home(puller, fake_registry.host)
        puller.pull(f"{fake_registry.host}/a:1")
    assert {asked["authorization"] for asked in server.asked} == {""}
    assert not any("account" in asked for asked in server.asked)
    assert any("another party" in note for note in puller.progress.notes)


REALMS = ["", "ftp://x/token", "token", "http://user:pw@127.0.0.1/t", "http://[", "http://x:99999/"]


@pytest.mark.parametrize("realm", REALMS)
def test_unusable_token_server_is_a_refusal(
    realm: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(make_image())
    wants_token(fake_registry, realm, bool)
    with pytest.raises(AuthenticationFailed, match="no usable token server"):
        puller.resolve(f"{fake_registry.host}/a:1")


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "a\\nb: c"}'])
def test_answer_without_a_token_is_a_refusal(
    answer: bytes, fake_registry: FakeRegistry, second_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(make_image())
    second_registry.behaviours.append(lambda handler: handler.answer(200, answer) is None)
    wants_token(fake_registry, f"http://{second_registry.host}/token", bool)
    with pytest.raises(AuthenticationFailed, match="without a token"):
        puller.resolve(f"{fake_registry.host}/a:1")


def test_redirected_blob_is_fetched_without_the_credentials(
    fake_registry: FakeRegistry, second_registry: FakeRegistry, puller: Puller
) -> None:
    image = fake_registry.add(make_image())
    second_registry.add(image)
    in_home(puller, fake_registry.host)

    def guard(handler: Handler) -> bool:
        if handler.headers.get("Authorization") != f"Basic {encoded()}":
            handler.answer(401, WWW_Authenticate='Basic realm="x"')
        elif "/blobs/" in handler.path:
            place = f"http://{second_registry.host}{handler.path}?signature=abc"
            handler.answer(307, Location=place)
        else:
            return False
        return True

    fake_registry.behaviours.append(guard)
    puller.pull(f"{fake_registry.host}/a:1")
    assert puller.stored() == {image.digest, *image.blobs}
    assert second_registry.asked
    for asked in second_registry.asked:
        assert not {"authorization", "cookie"} & {name.lower() for name in asked.headers}


def test_layers_own_url_gets_no_credentials(
    fake_registry: FakeRegistry, second_registry: FakeRegistry, puller: Puller
) -> None:
    plain = make_image()
    digest = plain.layer_digests()[0]
    entry = {
        **plain.parsed["layers"][0],
        "urls": [f"http://{second_registry.host}/x/blobs/{digest}"],
    }
    image = fake_registry.add(make_image(manifest={"layers": [entry]}))
    second_registry.blobs[digest] = fake_registry.blobs.pop(digest)
    in_home(puller, fake_registry.host)

    def guard(handler: Handler) -> bool:
        if handler.headers.get("Authorization"):
            return False
        handler.answer(401, WWW_Authenticate='Basic realm="x"')
        return True

    fake_registry.behaviours.append(guard)
    puller.pull(f"{fake_registry.host}/a:1")
    assert puller.stored() == {image.digest, *image.blobs}
    assert [asked.headers.get("Authorization") for asked in second_registry.asked] == [None]


def test_cookies_are_not_kept(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(make_image())

    def set_cookie(handler: Handler) -> bool:
        if "Cookie" not in handler.headers and "/manifests/" in handler.path:
            raw, media_type = fake_registry.manifests["1"]
            handler.answer(200, raw, Content_Type=media_type, Set_Cookie="session=secret; Path=/")
            return True
        return False

    fake_registry.behaviours.append(set_cookie)
    puller.pull(f"{fake_registry.host}/a:1")
    assert not [asked for asked in fake_registry.asked if "Cookie" in asked.headers]
