"""A network for a container without rights on the host's: pasta or slirp4netns.

The helper starts in the host's network namespace and inside the run's pid namespace, so that it
ends with the run, whatever ends that.
"""

from __future__ import annotations

import os

from .. import kernel
from .find import find_executable

PASTA = "pasta"
PASTA_RESOLVER = "169.254.1.1"
SLIRP = "slirp4netns"
SLIRP_RESOLVER = "10.0.2.3"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMESPACE = "network-namespace"


class Helper:
    """The program, and the name server that it offers to the container."""

    __slots__ = ("as_root", "kind", "path", "resolver")

    def __init__(self, kind: str, path: str, resolver: str, *, as_root: bool) -> None:
        self.kind = kind
        self.path = path
        self.resolver = resolver
        self.as_root = as_root


def find_helper(*, as_root: bool) -> Helper | None:
    """pasta, or slirp4netns, or None where neither is installed.

    ``as_root``: it will be the host's root, which pasta takes only when told to.
    """
    for kind, resolver in ((PASTA, PASTA_RESOLVER), (SLIRP, SLIRP_RESOLVER)):
        path = find_executable(kind)
        if path is not None:
            return Helper(kind, path, resolver, as_root=as_root)
    return None


def enter_network(helper: Helper, default_signals: Callable[[], None]) -> None:
    """Move this process, which is process 1 of its pid namespace, into a network of its own.

    The helper finds the namespace as a file in the working directory: through /proc it would need
    rights over this process that it gives up when it starts.

    Raises:
        OSError: the helper could not set it up.
    """
    go_reader, go_writer = os.pipe()
    ready_reader, ready_writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become_helper(helper, go_reader, ready_writer, default_signals)
    os.close(ready_writer)
    kernel.unshare(kernel.CLONE_NEWNET)
    os.close(os.open(NAMESPACE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    kernel.mount("/proc/self/ns/net", NAMESPACE, "", kernel.MS_BIND)
    os.write(go_writer, b"1")
    os.close(go_writer)
    os.close(go_reader)
    if helper.kind == PASTA:  # goes to the background when it is ready
        ready = os.waitpid(child, 0)[1] == 0
    else:
        ready = os.read(ready_reader, 1) == b"1"
    os.close(ready_reader)
    if not ready:
        raise OSError(5, f"{helper.kind} could not set up the network", helper.path)


def _become_helper(
    helper: Helper, go: int, ready: int, default_signals: Callable[[], None]
) -> None:
    try:
        os.read(go, 1)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if helper.kind == PASTA:
            words = ["--config-net", "--quiet", "--dns-forward", helper.resolver]
            words += ["--netns", os.path.abspath(NAMESPACE)]
            words += ["--runas", "0:0"] if helper.as_root else []
        else:
            os.set_inheritable(ready, True)
            words = ["--configure", "--mtu=65520", "--disable-host-loopback"]
            words += [f"--ready-fd={ready}", "--netns-type=path", NAMESPACE, "tap0"]
        default_signals()
        os.execv(helper.path, [helper.path, *words])
    finally:
        os._exit(127)
