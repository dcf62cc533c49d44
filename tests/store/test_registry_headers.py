"""What registries say in headers: challenges, ranges, times; and where requests may go."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import DeclarationError
from tasks.oci.reference import parse_image
from tasks.oci.registry_settings import Mirror, Registry, parse_registry
from tasks.store.registry.address import origin
from tasks.store.registry.auth import is_own_realm
from tasks.store.registry.challenge import parse_challenges
from tasks.store.registry.endpoint import Endpoint, endpoints
from tasks.store.registry.host_settings import host_registries, with_host_certificates
from tasks.store.registry.limits import Limits
from tasks.store.registry.transfer import continues, parse_content_range

CHALLENGES = {
    'Bearer realm="https://a/t",service="a b",scope="repository:x:pull,push"': [
        ("bearer", {"realm": "https://a/t", "service": "a b", "scope": "repository:x:pull,push"})
    ],
    'Basic realm="a, b=c"': [("basic", {"realm": "a, b=c"})],
    "basic realm=x": [("basic", {"realm": "x"})],
    "Negotiate": [("negotiate", {})],
    "Negotiate, Basic realm=x": [("negotiate", {}), ("basic", {"realm": "x"})],
    "Negotiate abc==, Basic realm=x": [("negotiate", {}), ("basic", {"realm": "x"})],
    'Bearer realm="q\\"uote", Basic realm="b"': [
        ("bearer", {"realm": 'q"uote'}),
        ("basic", {"realm": "b"}),
    ],
    'BEARER REALM = "a" , SERVICE="s"': [("bearer", {"realm": "a", "service": "s"})],
    'Bearer realm="a", realm="b"': [("bearer", {"realm": "a"})],
    'Bearer realm="never closed': [("bearer", {})],
    "": [],
    ",,,": [],
    "=": [],
}


@pytest.mark.parametrize(("header", "expected"), CHALLENGES.items(), ids=CHALLENGES)
def test_challenge_is_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = [(each.scheme, dict(each.parameters)) for each in parse_challenges(header)]
    assert found == expected


TOKENS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS, VALUES, min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_challenge_survives_being_written(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    found = [(each.scheme, dict(each.parameters)) for each in parse_challenges(header)]
    assert found == challenges


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_header_is_read_or_left(header: str) -> None:
    parse_challenges(header)


@pytest.mark.parametrize(
    "header",
    ["Bearer " + 'a="' * 100_000, "Bearer " + "a" * 1_000_000, "," * 1_000_000, "a " * 100_000],
    ids=["open quotes", "a long word", "commas", "many words"],
)
def test_long_header_ends(header: str) -> None:
    assert len(parse_challenges(header)) < 10_000


@given(offset=st.integers(0, 99), count=st.integers(1, 99), star=st.booleans())
def test_range_that_continues_is_accepted(offset: int, count: int, star: bool) -> None:
    size = offset + count
    found = parse_content_range(f"bytes {offset}-{size - 1}/{'*' if star else size}")
    assert continues(found, offset=offset, size=size)
    assert not continues(found, offset=offset + 1, size=size)
    assert star or not continues(found, offset=offset, size=size + 1)
    assert not continues(found, offset=offset, size=size - 1)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_range_is_read_only_when_it_makes_sense(first: int, last: int, total: int) -> None:
    found = parse_content_range(f"bytes {first}-{last}/{total}")
    assert (found is not None) == (first <= last < total)


@pytest.mark.parametrize(
    "text",
    [
        *("", "bytes", "bytes */5", "bytes 1-2", "bits 1-2/3", "bytes -1-2/3", "bytes 1-2/x"),
        *("1-2/3", "bytes 1-2/3, 4-5/6", "bytes 0x1-2/3", "bytes \u0661-\u0662/\u0663"),
        f"bytes 0-{'9' * 30}/{'9' * 31}",
    ],
)
def test_range_that_is_none_is_none(text: str) -> None:
    assert parse_content_range(text) is None


@given(st.integers(0, 30), st.none() | st.floats(-1e9, 1e9))
def test_delay_is_bounded(attempt: int, retry_after: float | None) -> None:
    limits = Limits()
    assert 0 <= limits.delay(attempt, retry_after) <= limits.retry_after_cap


REALMS = {
    ("https://auth.docker.io/token", "https://registry-1.docker.io"): True,
    ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com"): True,
    ("https://r.io/token", "https://r.io:5000"): True,
    ("http://127.0.0.1:9/token", "http://127.0.0.1:5000"): True,
    ("https://127.0.0.1:9/token", "http://127.0.0.1:5000"): True,
    ("http://r.io/token", "https://r.io"): False,
    ("https://evil.example/token", "https://registry-1.docker.io"): False,
    ("https://evildocker.io/token", "https://registry-1.docker.io"): False,
    ("https://docker.io.evil.example/token", "https://registry-1.docker.io"): False,
    ("https://evil.co.uk/token", "https://registry.good.co.uk"): False,
    ("https://auth.good.co.uk/token", "https://registry.good.co.uk"): True,
    ("https://b.io/token", "https://a.io"): False,
    ("https://io/token", "https://a.io"): False,
    ("http://auth.r.io/token", "http://r.io"): False,
    ("https://2.0.0.1/token", "https://1.0.0.1"): False,
    ("https://localhost/token", "https://registry.localhost"): False,
}


@pytest.mark.parametrize(("places", "expected"), REALMS.items(), ids=str)
def test_realm_is_our_own_or_foreign(places: tuple[str, str], expected: bool) -> None:
    realm, base = places
    assert is_own_realm(realm, base) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.io/x", ("https", "a.io", 443)),
        ("http://a.io:80", ("http", "a.io", 80)),
        ("https://[::1]:5000/", ("https", "::1", 5000)),
        ("ftp://a.io", None),
        ("http://", None),
        ("http://a.io:99999", None),
        ("http://[", None),
        ("", None),
    ],
)
def test_origin(url: str, expected: object) -> None:
    assert origin(url) == expected


def places(image: str, *registries: Registry) -> list[str]:
    return [str(found) for found in endpoints(parse_image(image, folder=Path()), registries)]


MIRRORED = Registry(
    prefix="r.io/team",
    location="other.io/deep",
    mirrors=(
        Mirror(location="m1.io/x"),
        Mirror(location="m2.io", pull_from="digest-only"),
        Mirror(location="m3.io", pull_from="tag-only"),
    ),
)
DIGEST = "sha256:" + "0" * 64
ENDPOINTS: dict[str, tuple[str, list[str]]] = {
    "hello-world": ("docker", ["registry-1.docker.io/library/hello-world"]),
    "r.io/a": ("none", ["r.io/a"]),
    "r.io/teams/a": ("not at a slash", ["r.io/teams/a"]),
    "r.io/team/a:1": ("tag", ["m1.io/x/a", "m3.io/a", "other.io/deep/a"]),
    f"r.io/team/a@{DIGEST}": ("digest", ["m1.io/x/a", "m2.io/a", "other.io/deep/a"]),
    "x.w.io/a": ("wildcard", ["wild.io/a"]),
    "w.io/a": ("no subdomain", ["w.io/a"]),
    "x.w.io:5000/a": ("wildcard with a port", ["wild.io/a"]),
}


@pytest.mark.parametrize("image", ENDPOINTS)
def test_endpoints_follow_the_longest_prefix(image: str) -> None:
    settings = (
        Registry(prefix="r.io", blocked=False),
        MIRRORED,
        Registry(prefix="*.w.io", location="wild.io"),
    )
    assert places(image, *settings) == ENDPOINTS[image][1]


def test_mirror_of_docker_hub_gets_the_library() -> None:
    settings = Registry(prefix="docker.io", mirrors=(Mirror(location="m.io/hub"),))
    expected = ["m.io/hub/library/a", "registry-1.docker.io/library/a"]
    assert places("a", settings) == expected


def test_blocked_registry_is_refused() -> None:
    with pytest.raises(DeclarationError, match="blocked"):
        places("r.io/a", Registry(prefix="r.io", blocked=True))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "prefix"),
        ({"prefix": "r.io", "cert": "c.pem"}, "both cert and key"),
        ({"prefix": "r.io", "mirror": [{}]}, "location"),
    ],
)
def test_table_without_sense_is_refused(table: dict[str, object], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        parse_registry(table, folder=Path("/p"))


def test_table_becomes_settings() -> None:
    table = {
        "location": "r.io",
        "insecure": True,
        "ca": "ca.pem",
        "mirror": [{"location": "m.io", "insecure": True, "pull-from-mirror": "tag-only"}],
        "password_env": "P",
    }
    assert parse_registry(table, folder=Path("/p")) == Registry(
        prefix="r.io",
        location="r.io",
        insecure=True,
        ca=Path("/p/ca.pem"),
        mirrors=(Mirror(location="m.io", insecure=True, pull_from="tag-only"),),
        password_env="P",
    )


@pytest.mark.parametrize("place", ["containers", "docker"])
def test_certificates_of_the_whole_machine_are_found(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place / "certs.d" / "r.io:5000"
    folder.mkdir(parents=True)
    for name in ("b.crt", "a.crt", "c.cert", "c.key", "alone.cert"):
        (folder / name).touch()
    endpoint = Endpoint(host="r.io:5000", repository="a", name="r.io:5000/a")
    found = with_host_certificates(endpoint, {}, system=tmp_path)
    assert found.authorities == (folder / "a.crt", folder / "b.crt")
    assert found.client_certificates == ((folder / "c.cert", folder / "c.key"),)
    other = endpoint.replacing(host="r.io", name="r.io/a")
    assert with_host_certificates(other, {}, system=tmp_path) == other


def test_later_drop_in_stands_before_what_came_earlier(tmp_path: Path) -> None:
    def write(path: Path, location: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[[registry]]\nprefix = "r.io"\nlocation = "{location}"\n')

    system, home = tmp_path / "etc", tmp_path / "home"
    environ = {"HOME": str(home)}

    def location() -> list[str]:
        found = host_registries(environ, warn=pytest.fail, system=system)
        return [registry.location for registry in found]

    assert location() == []
    for path, word in (
        (system / "containers/registries.conf", "main"),
        (system / "containers/registries.conf.d/1.conf", "first"),
        (system / "containers/registries.conf.d/2.conf", "second"),
        (home / ".config/containers/registries.conf.d/1.conf", "own"),
    ):
        write(path, word)
        assert location() == [word]
    write(home / "alone.conf", "alone")
    environ["CONTAINERS_REGISTRIES_CONF"] = str(home / "alone.conf")
    assert location() == ["alone"]
