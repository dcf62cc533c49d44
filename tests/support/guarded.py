"""Registries that want to know who asks, and where a user's credentials for them lie."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.docker_registry import RegistryServer, running_registry, skopeo
from tests.support.images import Document, layer, make_image, write_layout
from tests.support.pulling import Puller
from tests.support.token_server import TokenServer, running_token_server

USER, SECRET = "ali", "open sesame"
# bcrypt of SECRET, made with htpasswd -nbB.
HTPASSWD = "ali:$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n"
IMAGE = make_image(layer(size=5000))


def encoded(user: str = USER, secret: str = SECRET) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


@contextlib.contextmanager
def running_guarded(folder: Path) -> Iterator[RegistryServer]:
    """A registry that wants a password, with an image ``team/app:1``."""
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    layout = write_layout(folder / "layout", IMAGE)
    with running_registry(folder, auth=auth) as server:
        skopeo(
            *("copy", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{SECRET}"),
            *(f"oci:{layout}", f"docker://{server.host}/team/app:1"),
        )
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that wants a password, with an image ``team/app:1``."""
    with running_guarded(tmp_path_factory.mktemp("guarded")) as server:
        yield server


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def in_home(puller: Puller, host: str) -> None:
    path = Path(puller.environ["HOME"]) / ".docker" / "config.json"
    write_json(path, {"auths": {host: {"username": USER, "password": SECRET}}})


@contextlib.contextmanager
def running_token_registry(
    folder: Path, authority: Authority, *, image: Document = IMAGE, **settings: Any
) -> Iterator[tuple[RegistryServer, TokenServer]]:
    """A registry with an image ``a:1`` behind a token server."""
    signer = authority.sign("signer")
    layout = write_layout(folder / "layout", image)
    with running_token_server(signer, **settings) as server:
        server.users["root"] = "x"
        with running_registry(folder / "registry", auth=server.settings()) as registry:
            skopeo(
                *("copy", "--dest-tls-verify=false", "--dest-creds", "root:x"),
                *(f"oci:{layout}", f"docker://{registry.host}/a:1"),
            )
            server.asked.clear()
            yield registry, server
