"""Signal names, as images and people write them."""

from __future__ import annotations

import signal

from ...oci.annotation import STOP_SIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORWARDED = frozenset(
    (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGALRM,
    )
)


def awaited_signals() -> set[int]:
    """Children's ends, and what is passed on unless our caller ignores it, as nohup does."""
    heard = {number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN}
    return {*heard, signal.SIGCHLD}


def stop_signal(config: dict[str, Any]) -> int:
    """The signal that asks the container to end; image-spec's annotation, or SIGTERM."""
    name = str((config.get("annotations") or {}).get(STOP_SIGNAL) or "SIGTERM")
    return parse_signal(name) or signal.SIGTERM


def parse_signal(name: str) -> int | None:
    """``SIGINT``, ``int``, ``2``, ``RTMIN+3`` → number; None for what is no signal."""
    if name in signal.Signals.__members__:
        return signal.Signals[name].value
    from ...oci import signal_name

    found = signal_name.parse_signal(name)
    if found is None:
        return None
    for root, sign in (("SIGRTMIN", 1), ("SIGRTMAX", -1)):
        if found[len(root) :] and found.startswith(root):
            return signal.Signals[root].value + sign * int(found[len(root) + 1 :])
    return signal.Signals[found].value


def default_signals(mask: set[int]) -> None:
    """Before another program takes over: Python ignores two signals, and exec passes that on."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
