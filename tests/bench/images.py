"""The benchmark images and the registry that serves them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
CONFIGURATION = """version: 0.1
storage:
  filesystem:
    rootdirectory: {root}
http:
  addr: 127.0.0.1:{port}
log:
  level: error
"""


class Lab:
    """Images in ``place/images`` and in a docker-registry on a free loopback port."""

    def __init__(self, place: Path) -> None:
        self.place = place.absolute()
        self.scratch = self.place / "scratch"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.registry = f"127.0.0.1:{self.port}"
        self._server: subprocess.Popen[bytes] | None = None

    def image(self, name: str) -> Path:
        """The image layout of small, medium or large."""
        return self.place / "images" / name

    def served(self) -> float:
        """Seconds of processor that the registry has taken so far: it has the same cores."""
        assert self._server is not None
        stat = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = stat[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        self._clear()
        self.scratch.mkdir()
        configuration = self.place / "registry.yml"
        configuration.write_text(CONFIGURATION.format(root=self.place / "registry", port=self.port))
        self._server = subprocess.Popen(
            ["docker-registry", "serve", str(configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        if not (self.place / "made").exists():
            script = [str(HERE / "make_images.sh"), str(self.place / "images"), self.registry]
            subprocess.run(script, check=True)
            (self.place / "made").touch()
        return self

    def _clear(self) -> None:
        # podman leaves its storage mounted on itself.
        store = self.scratch / "podman" / "overlay"
        subprocess.run(["umount", str(store)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _wait(self) -> None:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("docker-registry does not answer")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server:
            self._server.terminate()
            self._server.wait()
        self._clear()
