"""Machines that share nothing but a network: each a network and a mount namespace of its own.

A hub holds the bridge that their cables end at. What a test keeps on the disk is hidden from each
machine by a file system of its own, as large as the machine's disk is to be.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .docker_registry import need

_networks = itertools.count()


class Network:
    """Addresses are 10.213.0.2 and up; nothing of the host's own network is touched."""

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden
        self.prefix = f"doit-oci-{os.getpid()}-{next(_networks)}"
        self.machines: list[Machine] = []
        self.hub = f"{self.prefix}-hub"
        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.hub, "link", "set", "bridge", "up")

    def machine(self, disk: str = "64m") -> Machine:
        made = Machine(self, len(self.machines) + 2, disk)
        self.machines.append(made)
        return made

    def close(self) -> None:
        for machine in self.machines:
            machine.close()
        ip("netns", "delete", self.hub)


class Machine:
    """``host`` is its address; ``disk`` the size of what it has in place of the hidden folder."""

    def __init__(self, network: Network, number: int, disk: str) -> None:
        self.network, self.disk = network, disk
        self.host = f"10.213.0.{number}"
        self.name, self.cable = f"{network.prefix}-{number}", f"cable{number}"
        self.processes: list[subprocess.Popen[bytes]] = []
        ip("netns", "add", self.name)
        ip("-n", network.hub, "link", "add", self.cable, "type", "veth",
           "peer", "name", "eth0", "netns", self.name)  # fmt: skip
        ip("-n", network.hub, "link", "set", self.cable, "master", "bridge", "up")
        ip("-n", self.name, "address", "add", f"{self.host}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.name, "link", "set", device, "up")

    def inside(self, words: Sequence[str | Path], *, sees: bool = False) -> list[str]:
        """A command line that runs ``words`` in here; with ``sees`` nothing is hidden from it."""
        hide = f"mount -t tmpfs -o size={self.disk} none '{self.network.hidden}' &&"
        script = f'{"" if sees else hide} exec "$@"'
        return [
            need("ip"), "netns", "exec", self.name,
            "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh",
            *map(str, words),
        ]  # fmt: skip

    def start(self, words: Sequence[str | Path], log: Path, **env: str) -> subprocess.Popen[bytes]:
        """Start a process in here; its words go to a file outside."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.inside(words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def wait_for(self, host: str, port: int, log: Path) -> None:
        """Wait until somebody listens there, as seen from here."""
        probe = f"exec 3<>/dev/tcp/{host}/{port}"
        deadline = time.monotonic() + 30
        while subprocess.run(
            self.inside(["bash", "-c", probe], sees=True), stderr=subprocess.DEVNULL, check=False
        ).returncode:
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)

    def bytes_moved(self) -> int:
        """What has gone over the cable in both directions."""
        found = subprocess.run(
            [need("ip"), "netns", "exec", self.network.hub, "cat"]
            + [f"/sys/class/net/{self.cable}/statistics/{way}_bytes" for way in ("rx", "tx")],
            check=True,
            capture_output=True,
            text=True,
        )
        return sum(map(int, found.stdout.split()))

    def kill(self) -> None:
        """Everything in here ends at once, as when the power goes; the cable is out too."""
        ip("-n", self.network.hub, "link", "set", self.cable, "down")
        self._end()

    def _end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        self.processes.clear()

    def close(self) -> None:
        self._end()
        ip("netns", "delete", self.name)


@contextlib.contextmanager
def network(hidden: Path) -> Iterator[Network]:
    """Machines from which ``hidden`` is hidden."""
    made = Network(hidden)
    try:
        yield made
    finally:
        made.close()


def ip(*words: str) -> None:
    subprocess.run([need("ip"), *words], check=True, capture_output=True)
