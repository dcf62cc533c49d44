"""Commands for the first day: init, add, completion, man, schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..doit_bridge import ProjectCommand
from ..errors import DeclarationError


def one_of(kind: str, names: list[str], known: list[str]) -> str:
    """The only word given, if it is one that is known. Raises: DeclarationError."""
    if len(names) != 1 or names[0] not in known:
        raise DeclarationError(
            f"expected one {kind}: {', '.join(known)}", subject=" ".join(names) or kind
        )
    return names[0]


class Init(ProjectCommand):
    """``init [--dodo] [--schema]``"""

    doc_purpose = "write a first images.toml, with comments, into this folder"
    doc_usage = "[--dodo] [--schema]"
    doc_description = "What exists is not written over: then nothing is written at all."
    cmd_options = (
        {
            "name": "dodo",
            "long": "dodo",
            "type": bool,
            "default": False,
            "help": "a dodo.py as well, to mix the tasks with your own",
        },
        {
            "name": "schema",
            "long": "schema",
            "type": bool,
            "default": False,
            "help": "the schema as well, so that editors complete and check images.toml",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..init import init_project
        from ..project.schema import SPECS

        if names:
            raise DeclarationError("takes no names", subject="init")
        schema = SPECS / "images.schema.json" if given["schema"] else None
        for path in init_project(folder=Path.cwd(), dodo=given["dodo"], schema=schema):
            sys.stderr.write(f"wrote {path.name}\n")
        sys.stderr.write("next: `doit-oci run:hello-world`, or `doit-oci add IMAGE`\n")
        return 0


class Add(ProjectCommand):
    """``add IMAGE [--name NAME] [--platform PLATFORM]``"""

    doc_purpose = "add an image to images.toml, keeping its comments"
    doc_usage = "IMAGE [--name=NAME] [--platform=PLATFORM]"
    doc_description = (
        "IMAGE is a reference as skopeo takes it: docker.io/library/debian:12-slim, oci:PATH:TAG, "
        "oci-archive:FILE, docker-archive:FILE, dir:PATH or builtin:hello-world. Nothing is "
        "fetched; the first target that needs the image resolves it."
    )
    cmd_options = (
        {
            "name": "name",
            "long": "name",
            "type": str,
            "default": "",
            "help": "the image's name here; otherwise the last part of its repository",
        },
        {
            "name": "platform",
            "long": "platform",
            "type": list,
            "default": [],
            "help": "os/architecture; may be given several times",
        },
    )

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..add import add_image

        if len(names) != 1:
            raise DeclarationError("expected one image reference", subject="add")
        name = add_image(
            declaration=self.plan.workspace.declaration,
            reference=names[0],
            name=given["name"] or None,
            platforms=tuple(given["platform"]),
        )
        sys.stderr.write(f"added [images.{name}]; next: `doit-oci run:{name}`\n")
        return 0


class Completion(ProjectCommand):
    """``completion SHELL``"""

    doc_purpose = "print the completion script of a shell: bash, zsh or fish"
    doc_usage = "SHELL"
    doc_description = "Names come from images.toml and the lock in milliseconds."

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..completion import SCRIPTS

        sys.stdout.write(SCRIPTS[one_of("shell", names, [*SCRIPTS])])
        return 0


class Schema(ProjectCommand):
    """``schema [NAME]``"""

    doc_purpose = "print a JSON schema: images.toml's, the lock's, or a specification's"
    doc_usage = "[NAME]"
    doc_description = "Without a name, the schema of images.toml."

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from ..project.schema import SPECS, SUFFIX, schema_names

        name = one_of("schema", names or ["images"], schema_names())
        sys.stdout.write((SPECS / f"{name}{SUFFIX}").read_text("utf-8"))
        return 0


class Man(ProjectCommand):
    """``man``"""

    doc_purpose = "print the manual page, made of the same texts as --help"

    def perform(self, given: dict[str, Any], names: list[str]) -> int:
        from .manual import manual_page

        sys.stdout.write(manual_page())
        return 0
