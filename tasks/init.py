"""init: a first images.toml with the words that people need next; it runs without a network."""

from __future__ import annotations

from pathlib import Path

from .errors import DeclarationError, StoreError
from .store.atomic import write_atomic

SCHEMA_LINE = "#:schema ./images.schema.json\n"
DECLARATION = """\
# What this project can run. `doit-oci list` shows it, `doit-oci run:hello-world` runs one.
# Digests go into images.lock: commit both. What is built lies in build/: ignore that.

[images.hello-world]
image = "builtin:hello-world"       # comes with doit-oci: needs no network

# An image by tag. The tag is asked once; `doit-oci lock --update debian` asks again.
# [images.debian]
# image = "docker.io/library/debian:12-slim"

# A bundle is an image with changes. Every image has one of its own name without any.
# [bundles.shell]
# image = "debian"
# command = ["bash", "-c", "echo $GREETING"]
# environment = { GREETING = "hi" }
# working_dir = "/tmp"
# user = "1000:1000"
# read_only = true
# volumes = ["./data:/data:ro"]
# mem_limit = "64m"
# network = "none"                  # or "host"

# Anything else of a runtime's config.json, as a JSON merge patch.
# [bundles.shell.spec]
# process = { noNewPrivileges = true }

# What `doit-oci check:shell` holds a run against.
# [bundles.shell.check]
# status = 0
# stdout = "hi"

# A registry without TLS, or with mirrors.
# [[registry]]
# prefix = "127.0.0.1:5000"
# insecure = true
"""
DODO = '''\
"""The tasks of this project: those of images.toml, and your own beside them."""

from doit_oci.tasks.graph import *  # noqa: F403
'''


def init_project(*, folder: Path, dodo: bool = False, schema: Path | None = None) -> list[Path]:
    """Write images.toml and, if asked for, dodo.py and a copy of a schema for editors.

    Nothing that exists is written over: then nothing is written at all.
    Raises: DeclarationError, StoreError.
    """
    text = SCHEMA_LINE + DECLARATION if schema else DECLARATION
    contents = {folder / "images.toml": text.encode()}
    if dodo:
        contents[folder / "dodo.py"] = DODO.encode()
    if schema:
        contents[folder / "images.schema.json"] = schema.read_bytes()
    for path in contents:
        if path.exists() or path.is_symlink():
            raise DeclarationError(
                "exists already, and is not written over",
                subject=path.name,
                hint="`doit-oci add IMAGE` adds an image to it"
                if path.name == "images.toml"
                else "move it away first",
            )
    for path, content in contents.items():
        try:
            write_atomic(path, content)
        except OSError as error:
            raise StoreError(f"cannot be written: {error.strerror}", subject=str(path)) from error
    return list(contents)
