"""How a registry is reached: TLS, certificates, proxies, redirects, and what is not followed."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DeclarationError, RegistryError
from tasks.oci.registry_settings import Registry
from tasks.store.registry.proxy import proxies_for
from tests.support.certificates import Authority
from tests.support.connect_proxy import running_connect_proxy
from tests.support.docker_registry import RegistryServer, running_registry, skopeo
from tests.support.fake_registry import FakeRegistry, Handler
from tests.support.images import layer, make_image, push, write_layout
from tests.support.nginx import running_nginx
from tests.support.pulling import QUICK, Puller

IMAGE = make_image(layer(size=5000))


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[RegistryServer]:
    """A registry with a certificate of the tests' authority, with an image ``a:1``."""
    folder = tmp_path_factory.mktemp("secure")
    pair = authority.sign("registry", hosts="IP:127.0.0.1,DNS:registry.invalid")
    tls = {"certificate": str(pair.cert), "key": str(pair.key)}
    layout = write_layout(folder / "layout", IMAGE)
    with running_registry(folder, http={"tls": tls}) as server:
        skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{server.host}/a:1")
        yield server


def test_certificate_of_a_declared_authority_is_trusted(
    secure: RegistryServer, authority: Authority, puller: Puller
) -> None:
    settings = (Registry(prefix=secure.host, ca=authority.ca),)
    puller.pull(f"{secure.host}/a:1", registries=settings)
    assert puller.stored() >= {IMAGE.digest, *IMAGE.blobs}


@pytest.mark.parametrize("place", [".config/containers/certs.d"])
def test_authority_in_certs_d_is_trusted(
    place: str, secure: RegistryServer, authority: Authority, puller: Puller
) -> None:
    folder = Path(puller.environ["HOME"]) / place / secure.host
    folder.mkdir(parents=True)
    shutil.copy(authority.ca, folder / "ca.crt")
    puller.pull(f"{secure.host}/a:1", registries=())


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_authority_in_a_variable_is_trusted(
    variable: str, secure: RegistryServer, authority: Authority, puller: Puller
) -> None:
    puller.environ[variable] = str(authority.ca)
    puller.pull(f"{secure.host}/a:1", registries=())


def test_unknown_certificate_is_refused(secure: RegistryServer, puller: Puller) -> None:
    with pytest.raises(RegistryError, match=r"not trusted(.|\n)*ca = "):
        puller.resolve(f"{secure.host}/a:1", registries=())


def test_certificate_of_another_name_is_refused(
    authority: Authority, puller: Puller, tmp_path: Path
) -> None:
    pair = authority.sign("other", hosts="DNS:registry.example")
    tls = {"certificate": str(pair.cert), "key": str(pair.key)}
    with running_registry(tmp_path / "registry", http={"tls": tls}) as server:
        settings = (Registry(prefix=server.host, ca=authority.ca),)
        with pytest.raises(RegistryError, match="not trusted"):
            puller.resolve(f"{server.host}/a:1", registries=settings)


def test_certificate_that_is_over_is_refused(
    authority: Authority, puller: Puller, tmp_path: Path
) -> None:
    pair = authority.sign("over", days=0)
    tls = {"certificate": str(pair.cert), "key": str(pair.key)}
    with running_registry(tmp_path / "registry", http={"tls": tls}) as server:
        settings = (Registry(prefix=server.host, ca=authority.ca),)
        with pytest.raises(RegistryError, match="expired"):
            puller.resolve(f"{server.host}/a:1", registries=settings)


def test_insecure_takes_a_certificate_that_nobody_vouches_for(
    secure: RegistryServer, puller: Puller
) -> None:
    puller.pull(f"{secure.host}/a:1", registries=(Registry(prefix=secure.host, insecure=True),))
    assert puller.stored() >= {IMAGE.digest, *IMAGE.blobs}


def test_plain_http_is_never_guessed(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(IMAGE)
    with pytest.raises(RegistryError, match="insecure = true"):
        puller.resolve(f"{fake_registry.host}/a:1", registries=())
    assert not fake_registry.asked


def test_client_certificate_opens_the_door(
    authority: Authority, puller: Puller, tmp_path: Path
) -> None:
    pair, client = authority.sign("server"), authority.sign("client")
    tls = {
        "certificate": str(pair.cert),
        "key": str(pair.key),
        "clientcas": [str(authority.ca)],
    }
    certs = tmp_path / "certs"
    certs.mkdir()
    for source, name in ((authority.ca, "ca.crt"), (client.cert, "c.cert"), (client.key, "c.key")):
        shutil.copy(source, certs / name)
    layout = write_layout(tmp_path / "layout", IMAGE)
    with running_registry(tmp_path / "registry", http={"tls": tls}) as server:
        skopeo(
            *("copy", "--dest-cert-dir", str(certs), f"oci:{layout}"),
            f"docker://{server.host}/a:1",
        )
        without = (Registry(prefix=server.host, ca=authority.ca),)
        with pytest.raises(RegistryError):
            puller.resolve(f"{server.host}/a:1", registries=without)
        settings = (
            Registry(prefix=server.host, ca=authority.ca, cert=client.cert, key=client.key),
        )
        puller.pull(f"{server.host}/a:1", registries=settings)
        home = Path(puller.environ["HOME"]) / ".config" / "containers" / "certs.d"
        shutil.copytree(certs, home / server.host)
        puller.resolve(f"{server.host}/a:1", registries=())


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_unusable_authority_is_a_wrong_declaration(
    content: str | None, secure: RegistryServer, puller: Puller, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DeclarationError, match=r"ca\.pem"):
        puller.resolve(f"{secure.host}/a:1", registries=(Registry(prefix=secure.host, ca=path),))


PROXY_VARIABLES: list[tuple[dict[str, str], bool]] = [
    ({"http_proxy": "PROXY"}, True),
    ({"HTTP_PROXY": "PROXY"}, True),
    ({"ALL_PROXY": "PROXY"}, True),
    ({"https_proxy": "PROXY"}, False),
    ({"http_proxy": "PROXY", "no_proxy": "registry.invalid"}, False),
    ({"http_proxy": "PROXY", "NO_PROXY": "x, .invalid"}, False),
    ({"http_proxy": "PROXY", "no_proxy": "registry.invalid:5000"}, True),
    ({"http_proxy": "PROXY", "no_proxy": "*"}, False),
    ({"http_proxy": "PROXY", "no_proxy": "valid"}, True),
]


@pytest.mark.parametrize(("variables", "through"), PROXY_VARIABLES, ids=str)
def test_proxy_variables_are_heeded(
    variables: dict[str, str], through: bool, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(IMAGE)
    proxy = f"http://{fake_registry.host}"
    puller.environ |= {name: value.replace("PROXY", proxy) for name, value in variables.items()}
    if through:
        puller.pull("registry.invalid/a:1")
        assert fake_registry.asked[0].path == "http://registry.invalid/v2/a/manifests/1"
    else:
        with pytest.raises(RegistryError, match="no host of that name"):
            puller.resolve("registry.invalid/a:1")
        assert not fake_registry.asked


@pytest.mark.parametrize(
    ("url", "no_proxy", "through"),
    [
        ("http://127.0.0.1:5000/", "", False),
        ("http://localhost/", "", False),
        ("http://[::1]:5000/", "", False),
        ("http://10.1.2.3/", "", True),
        ("http://10.1.2.3/", "10.0.0.0/8", False),
        ("http://11.1.2.3/", "10.0.0.0/8", True),
        ("http://r.example:5000/", "r.example:5000", False),
        ("http://deep.r.example/", "R.example", False),
        ("http://deep.r.example/", "*.r.example", False),
        ("http://notr.example/", "r.example", True),
    ],
)
def test_proxy_is_passed_by(url: str, no_proxy: str, through: bool) -> None:
    variables = {"http_proxy": "http://proxy:1", "no_proxy": no_proxy}
    assert bool(proxies_for(url, variables)) == through


def test_proxy_that_does_not_answer_is_named(puller: Puller) -> None:
    puller.environ["http_proxy"] = "http://user:hunter2@127.0.0.1:1"
    with pytest.raises(RegistryError, match="proxy") as caught:
        puller.resolve("registry.invalid/a:1")
    assert "hunter2" not in str(caught.value) + "".join(puller.progress.notes)


def redirect(place: str, status: int = 307) -> Callable[[Handler], Any]:
    return lambda handler: handler.answer(status, Location=place)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_redirect_is_followed(
    status: int,
    kind: str,
    fake_registry: FakeRegistry,
    second_registry: FakeRegistry,
    puller: Puller,
) -> None:
    fake_registry.add(IMAGE)
    second_registry.add(IMAGE)
    fake_registry.always(
        kind,
        lambda handler: handler.answer(
            status, Location=f"http://{second_registry.host}{handler.path}?X-Sig=secret"
        ),
    )
    puller.pull(f"{fake_registry.host}/a:1")
    assert second_registry.paths(kind)
    assert puller.stored() == {IMAGE.digest, *IMAGE.blobs}


def test_relative_redirect_is_followed(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(IMAGE)
    fake_registry.once("manifests", redirect("../../b/manifests/1"))
    puller.pull(f"{fake_registry.host}/a:1")
    assert "GET /v2/b/manifests/1" in fake_registry.paths()


ASTRAY = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/x",
    "http://",
    "http://[",
    "http://x:99999/",
    "http://user:pw@127.0.0.1/",
    "//",
    "gopher:x",
    "http://127.0.0.1:1/\x00",
]


@pytest.mark.parametrize("place", ASTRAY)
def test_redirect_astray_is_an_error(
    place: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(IMAGE)
    fake_registry.always("manifests", redirect(place))
    with pytest.raises(RegistryError):
        puller.resolve(f"{fake_registry.host}/a:1")


def test_redirect_in_a_circle_ends(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.always("manifests", redirect("/v2/a/manifests/1"))
    with pytest.raises(RegistryError, match="redirects"):
        puller.resolve(f"{fake_registry.host}/a:1")
    assert len(fake_registry.asked) < 10


def test_address_that_was_redirected_to_is_not_said_with_its_query(
    fake_registry: FakeRegistry, second_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(IMAGE)
    place = f"http://{second_registry.host}/v2/a/blobs/x?X-Amz-Signature=hunter2"
    fake_registry.always("blobs", redirect(place))
    second_registry.always("blobs", lambda handler: handler.drop())
    with pytest.raises(RegistryError) as caught:
        puller.resolve(f"{fake_registry.host}/a:1")
    assert "hunter2" not in str(caught.value) + "".join(puller.progress.notes)


def test_redirect_from_https_to_http_is_refused(
    fake_registry: FakeRegistry, authority: Authority, puller: Puller, tmp_path: Path
) -> None:
    from tests.support.tls_front import running_tls_front

    fake_registry.add(IMAGE)
    with running_tls_front(authority.sign("front"), f"http://{fake_registry.host}") as host:
        settings = (Registry(prefix=host, ca=authority.ca),)
        with pytest.raises(RegistryError, match="HTTPS to plain HTTP"):
            puller.resolve(f"{host}/a:1", registries=settings)
    assert not fake_registry.asked


def test_refused_connection_is_said_at_once(puller: Puller) -> None:
    with pytest.raises(RegistryError, match="refused"):
        puller.resolve("127.0.0.1:1/a:1")
    assert not puller.progress.notes


def test_connection_that_does_not_come_about_is_given_up(puller: Puller) -> None:
    puller.limits = QUICK.replacing(connect_timeout=0.2)
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # Those that nobody accepts fill the queue; who comes then hears nothing.
        for _ in range(3):
            guest = waiting.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(deaf.getsockname())
        with pytest.raises(RegistryError, match="no answer in time"):
            puller.resolve(f"127.0.0.1:{deaf.getsockname()[1]}/a:1")
    assert len(puller.progress.notes) == QUICK.attempts - 1


def test_unknown_host_is_said(puller: Puller) -> None:
    with pytest.raises(RegistryError, match=r"registry\.invalid"):
        puller.resolve("registry.invalid/a:1")


HOST_FILES = {
    "registries.conf": "registries.conf",
    "a drop-in": "registries.conf.d/50-tests.conf",
}


@pytest.mark.parametrize("name", HOST_FILES.values(), ids=HOST_FILES)
def test_settings_of_the_host_are_heeded(
    name: str, fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(IMAGE)
    path = Path(puller.environ["HOME"]) / ".config" / "containers" / name
    path.parent.mkdir(parents=True)
    path.write_text(
        f'[[registry]]\nprefix = "registry.example/team"\nlocation = "{fake_registry.host}/x"\n'
        "insecure = true\n"
    )
    puller.pull("registry.example/team/a:1", registries=())
    assert fake_registry.asked[0].path == "/v2/x/a/manifests/1"


def test_declaration_stands_before_the_host(fake_registry: FakeRegistry, puller: Puller) -> None:
    fake_registry.add(IMAGE)
    path = Path(puller.environ["HOME"]) / "registries.conf"
    path.write_text(f'[[registry]]\nprefix = "{fake_registry.host}"\nblocked = true\n')
    puller.environ["CONTAINERS_REGISTRIES_CONF"] = str(path)
    with pytest.raises(DeclarationError, match="blocked"):
        puller.resolve(f"{fake_registry.host}/a:1", registries=())
    puller.resolve(f"{fake_registry.host}/a:1")


def test_damaged_settings_of_the_host_are_passed_over(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    fake_registry.add(IMAGE)
    path = Path(puller.environ["HOME"]) / "registries.conf"
    path.write_text("[[registry]]\nprefix = \n")
    puller.environ["CONTAINERS_REGISTRIES_CONF"] = str(path)
    puller.resolve(f"{fake_registry.host}/a:1")
    assert any("no valid TOML" in note for note in puller.progress.notes)


def test_https_goes_through_the_tunnel_of_a_proxy(
    secure: RegistryServer, authority: Authority, puller: Puller
) -> None:
    with running_connect_proxy() as proxy:
        proxy.places["registry.invalid:443"] = secure.host
        puller.environ["HTTPS_PROXY"] = proxy.url
        settings = (Registry(prefix="registry.invalid", ca=authority.ca),)
        puller.pull("registry.invalid/a:1", registries=settings)
        assert set(proxy.targets) == {"registry.invalid:443"}
        with pytest.raises(RegistryError, match="not trusted"):
            puller.resolve("registry.invalid/a:2", registries=())


def test_rate_limit_of_a_real_server_is_waited_for(
    docker_registry: RegistryServer, puller: Puller, tmp_path: Path
) -> None:
    image = make_image(*(layer(size=100, seed=number) for number in range(6)))
    push(docker_registry.host, "limited", "1", image)
    puller.limits = QUICK.replacing(attempts=20, backoff=0.1, backoff_cap=0.5)
    with running_nginx(
        tmp_path / "nginx",
        http="limit_req_zone $binary_remote_addr zone=one:1m rate=10r/s; limit_req_status 429;",
        server=f"location / {{ limit_req zone=one; proxy_pass http://{docker_registry.host};"
        " proxy_set_header Host $http_host; }",
    ) as host:
        puller.pull(f"{host}/limited:1")
    assert puller.stored() == {image.digest, *image.blobs}
    assert any("429" in note for note in puller.progress.notes)


def test_redirect_of_a_real_server_is_followed(
    docker_registry: RegistryServer, puller: Puller, tmp_path: Path
) -> None:
    push(docker_registry.host, "moved", "1", IMAGE)
    blobs = f"location ~ /blobs/ {{ return 307 http://{docker_registry.host}$request_uri; }}"
    rest = f"location / {{ proxy_pass http://{docker_registry.host}; }}"
    with running_nginx(tmp_path / "nginx", server=f"{blobs} {rest}") as host:
        puller.pull(f"{host}/moved:1")
    assert puller.stored() == {IMAGE.digest, *IMAGE.blobs}
