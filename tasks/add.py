"""add: one more image in images.toml, with every comment and line of it kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .errors import DeclarationError
from .oci.reference import parse_image
from .store.atomic import write_atomic


def name_of(reference: str) -> str:
    """The name an image gets when nobody gives one: the last part of its repository.

    >>> name_of("docker.io/library/debian:12-slim"), name_of("oci:images/base:1")
    ('debian', 'base')
    """
    last = reference.partition("@")[0].rstrip("/").rpartition("/")[2]
    # A transport's word stands before a colon, a tag behind one.
    head, colon, rest = last.partition(":")
    transports = ("builtin", "oci", "oci-archive", "docker-archive", "dir", "docker")
    word = rest.partition(":")[0] if colon and head in transports else head
    word = re.sub(r"(\.tar(\.\w+)?|\.oci)$", "", word)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._") or "image"


def add_image(
    *, declaration: Path, reference: str, name: str | None = None, platforms: tuple[str, ...] = ()
) -> str:
    """Add ``[images.NAME]`` to a declaration and return the name.

    The result is checked as a whole before it is written. Raises: DeclarationError.
    """
    from .project.declaration import compile_text, read_declaration

    parse_image(reference, folder=declaration.parent)
    text = read_declaration(declaration)
    chosen = name or name_of(reference)
    if chosen in compile_text(text, declaration)["images"]:
        raise DeclarationError(
            f"has an image of the name {chosen} already",
            subject=declaration.name,
            hint="give the new one another with --name",
        )
    table: dict[str, Any] = {"image": reference}
    if platforms:
        table["platforms"] = list(platforms)
    result = _with_image(text, chosen, table)
    compile_text(result, declaration)
    write_atomic(declaration, result.encode())
    return chosen


def _with_image(text: str, name: str, values: dict[str, Any]) -> str:
    """A table at the end, or an entry of ``images`` where that is an inline table."""
    import tomllib

    import tomlkit

    document = tomlkit.document()
    document["images"] = {name: values}
    end = "\r\n" if "\r\n" in text else "\n"
    table = tomlkit.dumps(document).strip().replace("\n", end)
    before = text if not text or text.endswith("\n") else text + end
    result = f"{before}{end if before else ''}{table}{end}"
    try:
        tomllib.loads(result)
    except tomllib.TOMLDecodeError:
        document = tomlkit.parse(text)
        document["images"][name] = values
        result = tomlkit.dumps(document)
    return result
