"""References: Docker's short forms, the transports, and everything that is no reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InvalidReference
from tasks.oci.reference import ImageReference, parse_image

D256 = "sha256:" + "0123456789abcdef" * 4
D512 = "sha512:" + "0123456789abcdef" * 8


def parse(text: str) -> ImageReference:
    return parse_image(text, folder=Path("/project"))


NORMAL = {
    "hello-world": "docker.io/library/hello-world:latest",
    "hello-world:linux": "docker.io/library/hello-world:linux",
    "docker.io/hello-world": "docker.io/library/hello-world:latest",
    "index.docker.io/hello-world": "docker.io/library/hello-world:latest",
    "registry-1.docker.io/library/a": "docker.io/library/a:latest",
    "docker://alpine": "docker.io/library/alpine:latest",
    "team/app": "docker.io/team/app:latest",
    "library/app": "docker.io/library/app:latest",
    "localhost/app": "localhost/app:latest",
    "localhost:5000/app": "localhost:5000/app:latest",
    "Upper/app": "Upper/app:latest",
    "quay.io/a/b/c:1.0_x-Y": "quay.io/a/b/c:1.0_x-Y",
    "127.0.0.1:5000/a": "127.0.0.1:5000/a:latest",
    "[::1]:5000/a": "[::1]:5000/a:latest",
    "[fd00:1::2]/a:b": "[fd00:1::2]/a:b",
    f"a@{D256}": f"docker.io/library/a@{D256}",
    f"a:b@{D256}": f"docker.io/library/a:b@{D256}",
    f"r.io:1/a/b:c@{D512}": f"r.io:1/a/b:c@{D512}",
    "a__b.c-d---e": "docker.io/library/a__b.c-d---e:latest",
    "a:" + "t" * 128: "docker.io/library/a:" + "t" * 128,
    "oci:images/hello": "oci:images/hello",
    "oci:./images//hello/": "oci:images/hello",
    "oci:/abs/x:1.0": "oci:/abs/x:1.0",
    "oci-archive:x.tar": "oci-archive:x.tar",
    "oci-archive:x.tar:a:b": "oci-archive:x.tar:a:b",
    "docker-archive:x.tar:team/app:1": "docker-archive:x.tar:team/app:1",
    "docker-archive:x.tar:@0": "docker-archive:x.tar:@0",
    "dir:some/where": "dir:some/where",
    "builtin:hello-world": "builtin:hello-world",
}


@pytest.mark.parametrize(("text", "normal"), NORMAL.items(), ids=NORMAL)
def test_reference_has_one_normal_form(text: str, normal: str) -> None:
    assert str(parse(text)) == normal
    assert parse(normal) == parse(text)


WRONG = [
    "",
    " a",
    "a ",
    "a\n",
    "a:",
    "a:-b",
    "a:" + "t" * 129,
    "a:b:c",
    "UPPER",
    "a/B",
    "a//b",
    "/a",
    "a/",
    "-a",
    "a-",
    "a..b",
    "a___b",
    "a@",
    "a@sha256:zz",
    "a@sha256:" + "0" * 63,
    "a@md5:" + "0" * 32,
    "a@sha256:" + "A" * 64,
    f"a@{D256}@{D256}",
    f"@{D256}",
    "0" * 64,
    "r.io/" + "a" * 256,
    "r.io:0/a",
    "r.io:65536/a",
    "r.io:x/a",
    "-r.io/a",
    "user@r.io/a",
    "[::1/a",
    "http://r.io/a",
    "https://r.io/a",
    "docker://",
    "oci:",
    "dir:",
    "builtin:",
    "builtin:../x",
    "containers-storage:a",
    "docker-daemon:a:b",
    "a/../b",
    "a?b",
    "a#b",
    "a%2fb",
    "café",
    "a:ü",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as error:
        parse(text)
    assert error.value.exit_status == 3


def test_bare_identifier_says_how_a_digest_is_written() -> None:
    with pytest.raises(InvalidReference, match="name@sha256:0000"):
        parse("0" * 64)


def test_path_is_relative_to_the_folder_and_stays_as_it_was_written() -> None:
    found = parse("oci:images/hello:v1")
    assert (found.path, found.location, found.tag) == (
        Path("/project/images/hello"),
        "images/hello",
        "v1",
    )


COMPONENT = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]{1,9}\.[a-z]{2,5}(?::[1-9][0-9]{0,3})?", fullmatch=True),
    st.just("localhost:5000"),
    st.just("[::1]:5000"),
)


@given(
    host=HOSTS,
    repository=st.lists(COMPONENT, min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda text: len(text) < 200),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True),
    digest=st.sampled_from(["", D256, D512]),
)
def test_parts_come_out_as_they_went_in(host: str, repository: str, tag: str, digest: str) -> None:
    text = f"{host}/{repository}:{tag}" + (f"@{digest}" if digest else "")
    found = parse(text)
    assert (found.registry, found.tag, str(found.digest or "")) == (host, tag, digest)
    assert found.repository.endswith(repository)
    assert str(parse(str(found))) == str(found)


@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except InvalidReference:
        return
    assert parse(str(found)) == found
