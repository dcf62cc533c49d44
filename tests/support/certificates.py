"""An authority of the tests' own, and certificates that it signs, made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.docker_registry import need


@dataclass
class Pair:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


@dataclass
class Authority:
    """``ca`` is its own certificate."""

    folder: Path
    ca: Path
    key: Path

    def sign(self, name: str, *, hosts: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Pair:
        """A certificate for some hosts, good for ``days``; for 0 days it is over at once."""
        pair = Pair(self.folder / f"{name}.cert", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\n")
        _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-keyout", str(pair.key)),
            *("-out", str(request), "-subj", f"/CN={name}"),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self.key)),
            *("-CAcreateserial", "-out", str(pair.cert), "-days", str(days)),
            *("-extfile", str(extensions)),
        )
        return pair


def make_authority(folder: Path) -> Authority:
    folder.mkdir(parents=True, exist_ok=True)
    found = Authority(folder, folder / "ca.crt", folder / "ca.key")
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-keyout", str(found.key), "-out", str(found.ca), "-subj", "/CN=tests"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"),
    )
    return found


def _openssl(*arguments: str) -> None:
    subprocess.run([need("openssl"), *arguments], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))
