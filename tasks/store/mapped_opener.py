"""Open files that lie in this user's trees and are not this user's to read.

A build by an ordinary user gives files to the subordinate ids, with the modes of the image; only
root of a user namespace with those ids mapped can read them all. A child is root of one, opens
what it is asked for, and hands over the descriptor: what is read is checked and written here, so
everything that is made stays this user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

PATH_ROOM = 1 << 16
"""Bytes of a request; a path is shorter, whatever the file system."""


class MappedOpener:
    """``open_here`` opens a path with this process's rights; the child is forked when they do
    not suffice, and lives until the end."""

    def __init__(self, open_here: Callable[[bytes], int]) -> None:
        self._open_here = open_here
        self._child = 0
        self._channel: socket.socket | None = None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0

    def open(self, path: bytes) -> int:
        """A descriptor that the caller closes. Raises: OSError."""
        try:
            return self._open_here(path)
        except PermissionError:
            if os.geteuid() == 0 or not self._is_started():
                raise
            found = self._ask(path)
            if found is None:
                raise
            return found

    def _is_started(self) -> bool:
        """Whether there is a child to ask; a host without user namespaces has none."""
        if self._channel is not None:
            return True
        import socket

        from .layers.remote import find_mapping
        from .user_namespace import fork_mapped, single_id_map

        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def serve() -> None:
            ours.close()
            self._serve(its)

        with its:
            try:
                self._child = fork_mapped(find_mapping() or single_id_map(), serve)
            except OSError:
                ours.close()
                return False
        self._channel = ours
        return True

    def _serve(self, channel: socket.socket) -> None:
        """In the child: open until nobody asks any more."""
        import socket

        while path := channel.recv(PATH_ROOM):
            try:
                found = self._open_here(path)
            except OSError as problem:
                channel.send(str(problem.errno or 0).encode())
            else:
                socket.send_fds(channel, [b"0"], [found])
                os.close(found)

    def _ask(self, path: bytes) -> int | None:
        """Raises: OSError, what the child was told; None where it is gone."""
        import socket

        assert self._channel is not None
        try:
            self._channel.send(path)
            answer, descriptors, _, _ = socket.recv_fds(self._channel, 16, 1)
        except (BrokenPipeError, ConnectionResetError):
            return None
        if descriptors:
            return descriptors[0]
        if not answer:
            return None
        number = int(answer)
        raise OSError(number, os.strerror(number), os.fsdecode(path))
