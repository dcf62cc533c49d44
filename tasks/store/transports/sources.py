"""Sources: registries that were opened, kept from one step to the next one of the same image.

Resolving an image and fetching its blobs are two steps; a connection, a TLS handshake and a token
serve both.
"""

from __future__ import annotations

import contextlib
import threading

from .source import open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ...oci.reference import ImageReference
    from .source import ImageSource

KEPT = 4
"""A run over thousands of images does not hold a connection for each."""


class Sources:
    """What was opened is lent to one step at a time, and closed with its last owner."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: list[tuple[Mapping[str, Any], ImageSource]] = []

    @contextlib.contextmanager
    def lend(
        self, reference: ImageReference, *, is_last: bool = False, **settings: Any
    ) -> Iterator[ImageSource]:
        """As :func:`open_source`, for the time of a block.

        Closed after it is what the ``is_last`` step of an image or one that fails had, because some
        servers serve one connection at a time, and files on this machine, which may change.
        """
        wanted = {"reference": reference, **settings}
        source = self._take(wanted) or open_source(reference, **settings)
        try:
            yield source
        except BaseException:
            source.close()
            raise
        if reference.transport == "docker" and not is_last:
            self._give_back(wanted, source)
        else:
            source.close()

    def _take(self, wanted: Mapping[str, Any]) -> ImageSource | None:
        with self._guard:
            for place, (opened_with, source) in enumerate(self._kept):
                if opened_with == wanted:
                    del self._kept[place]
                    return source
        return None

    def _give_back(self, opened_with: Mapping[str, Any], source: ImageSource) -> None:
        with self._guard:
            self._kept.append((opened_with, source))
            too_many = self._kept[:-KEPT]
            del self._kept[:-KEPT]
        for _, other in too_many:
            other.close()

    def close(self) -> None:
        with self._guard:
            while self._kept:
                self._kept.pop()[1].close()

    # As of connections: what nobody closed is closed with its owner.
    __del__ = close
