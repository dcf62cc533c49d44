"""What people read about the commands: overview, --help, manual page and reference.

All are made of the same texts: each command's purpose, usage, options and description where the
command is, examples and the options that every command takes here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from doit.cmd_help import Help as StockHelp

from .. import __version__
from . import COMMANDS

GLOBAL_OPTIONS = (
    ("--dir PATH", "where the state directory is (default build; also DOIT_OCI_DIR)"),
    ("--locked", "refuse to change images.lock"),
    ("--offline", "refuse the network"),
    ("--shard K/N", "of all bundles only the Kth of N parts, the same split everywhere"),
    ("--json", "events, or a command's answer, as JSON"),
    ("-q, --quiet", "say nothing but errors"),
    ("--help", "show a command's help"),
    ("--version", "print the version"),
)
TARGETS = (
    ("run:BUNDLE [-- ARG...]", "build what is out of date, then run; ARGs replace the image's Cmd"),
    ("run:BUNDLE --detach", "the same, and return once the container runs"),
    ("run:BUNDLE --wait", "the same, and return once it is healthy"),
    ("check:BUNDLE", "run and compare with the bundle's check table; passes are remembered"),
    ("bundle:BUNDLE", "a finished bundle: config.json and rootfs"),
    ("config:BUNDLE", "up to its config.json"),
    ("rootfs:BUNDLE", "up to its root file system"),
    ("layout:IMAGE", "an image layout with all its blobs"),
    ("reset:BUNDLE", "empty what a persistent bundle wrote"),
    ("-n N TARGET...", "work on N things at once"),
)
GROUPS = (
    ("to begin with", ("init", "add", "list", "lock", "doctor", "help")),
    ("to look", ("why", "graph", "diff", "report", "inspect", "digest")),
    ("to check", ("validate", "verify", "reproduce")),
    (
        "for containers that stay (run:BUNDLE --detach)",
        ("ps", "exec", "logs", "stop", "kill", "pause", "resume", "stats", "delete", "reset"),
    ),
    ("to move and to share", ("export", "import", "cache", "fleet")),
    ("to clean up", ("clean", "forget", "gc")),
    ("to set up", ("completion", "schema", "man")),
)
STATUSES = (
    ("the container's own", "after run:"),
    ("0", "done"),
    ("1", "a step failed"),
    ("3", "the declaration is wrong, or the target unknown"),
    ("128 + n", "ended by signal n"),
)
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "add": (
        ("doit-oci add docker.io/library/debian:12-slim --name base", "add it as [images.base]"),
    ),
    "cache": (
        ("doit-oci cache pull", "before a build on a runner that keeps nothing"),
        ("doit-oci cache key", "the key for a CI's own cache, then what to fall back to"),
    ),
    "clean": (("doit-oci clean --dry-run", "say what would be removed"),),
    "completion": (
        ("doit-oci completion bash > ~/.local/share/bash-completion/completions/doit-oci", "bash"),
        ("doit-oci completion fish > ~/.config/fish/completions/doit-oci.fish", "fish"),
    ),
    "diff": (
        ("doit-oci diff debian shell", "two bundles or images"),
        ("doit-oci diff old.lock images.lock", "two lock files"),
    ),
    "digest": (("doit-oci digest hello-world", "the same on every host"),),
    "doctor": (("doit-oci doctor", "before the first container, or for a bug report"),),
    "export": (
        ("doit-oci export shell shell.tar.zst", "one file, the same bytes each time"),
        ("doit-oci export shell image.tar --image", "its image, for skopeo, umoci and podman"),
    ),
    "fleet": (
        ("doit-oci fleet --workers 4", "what is not in the lock yet, by processes on this machine"),
        ("doit-oci fleet --all --scheduler tls://host:8786", "everything, by a Dask cluster"),
    ),
    "forget": (("doit-oci forget hello-world", "the next run does every step of it again"),),
    "gc": (("doit-oci gc --dry-run --max-age 30", "what was not used for a month"),),
    "graph": (
        ("doit-oci graph run:hello-world", "what it needs, as a tree"),
        ("doit-oci graph --format svg > graph.svg", "everything, drawn by graphviz"),
    ),
    "help": (("doit-oci help lock", "the same as `doit-oci lock --help`"),),
    "import": (("doit-oci import shell.tar.zst --name shell", "verified entry by entry"),),
    "init": (("doit-oci init --schema", "for editors that complete TOML by a schema"),),
    "inspect": (("doit-oci inspect hello-world --config", "the image configuration"),),
    "list": (("doit-oci list", "what can be run"),),
    "lock": (
        ("doit-oci lock --check", "for CI: fail when the lock does not fit"),
        ("doit-oci lock --update debian", "ask what the tag means now"),
    ),
    "man": (("doit-oci man | man -l -", "read it"),),
    "reproduce": (("doit-oci reproduce shell", "prove that the digest is the same elsewhere"),),
    "report": (("doit-oci report --output report.html", "for CI to keep"),),
    "run": (
        ("doit-oci run:hello-world", "build what is out of date and run"),
        ("doit-oci run:shell -- bash -c 'echo $HOME'", "with another command"),
        ("doit-oci -n 2 bundle", "build every bundle, two at a time"),
    ),
    "ps": (("doit-oci ps", "every container that was started with --detach"),),
    "exec": (("doit-oci exec shell -- sh -c 'id'", "with a terminal where there is one"),),
    "logs": (("doit-oci logs shell --follow", "until it ends"),),
    "kill": (("doit-oci kill shell HUP", "any signal"),),
    "stop": (("doit-oci stop shell", "politely, then not"),),
    "pause": (("doit-oci pause shell", "until `doit-oci resume shell`"),),
    "resume": (("doit-oci resume shell", "after `doit-oci pause shell`"),),
    "delete": (("doit-oci delete shell --force", "also if it runs"),),
    "stats": (("doit-oci stats shell", "bytes, microseconds and a count"),),
    "schema": (("doit-oci schema > images.schema.json", "for an editor"),),
    "validate": (("doit-oci validate", "everything that is declared, locked and built"),),
    "why": (
        ("doit-oci why run:hello-world", "what would run, and why"),
        ("doit-oci why config:hello-world", "also where each value of config.json is from"),
    ),
    "verify": (("doit-oci verify hello-world", "every byte of one bundle"),),
}
"""Command → (command line, what it is for)."""


class Text(NamedTuple):
    """What one command says of itself; ``options`` are (how it is typed, what it does)."""

    name: str
    purpose: str
    usage: str
    options: tuple[tuple[str, str], ...]
    description: str
    examples: tuple[tuple[str, str], ...]


def command_text(name: str) -> Text:
    """The texts of one command of COMMANDS."""
    module, _, attribute = COMMANDS[name].partition(":")
    found: Any = getattr(import_module(f"..{module}", __package__), attribute)
    return Text(
        name=name,
        purpose=found.doc_purpose.strip(),
        usage=f"doit-oci {name} {found.doc_usage or ''}".strip(),
        options=tuple(_options(found)),
        description=" ".join((found.doc_description or "").split()),
        examples=EXAMPLES.get(name, ()),
    )


def _options(command: Any) -> Iterator[tuple[str, str]]:
    for option in own_options(command):
        takes = "" if option.get("type", str) is bool else option.get("metavar", "ARG")
        short, long = option.get("short"), option.get("long")
        typed = [f"-{short}" + (f" {takes}" if takes else "")] if short else []
        typed += [f"--{long}" + (f"={takes}" if takes else "")] if long else []
        if typed:
            words = str(option.get("help", "")) % {"default": option.get("default")}
            yield ", ".join(typed), " ".join(words.split())


def own_options(command: Any) -> list[dict[str, Any]]:
    """A command's options without those of doit's loader and database."""
    parents = [each.__dict__.get("cmd_options", ()) for each in command.__mro__]
    return [dict(option) for options in parents for option in options]


def all_texts() -> list[Text]:
    return [command_text(name) for name in sorted(COMMANDS)]


def show(text: Text) -> str:
    """A command's --help."""
    lines = [text.purpose, "", f"usage: {text.usage}"]
    if text.description:
        lines += ["", *_wrapped(text.description)]
    if text.options:
        lines += ["", "options:", *_table(text.options)]
    if text.examples:
        lines += ["", "examples:"]
        for line, purpose in text.examples:
            lines += [f"  {line}", f"      {purpose}"]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """The overview that ``help`` shows."""
    commands = list(_grouped({text.name: text.purpose for text in all_texts()}))
    parts = (
        ["doit-oci: container images to runnable OCI bundles", ""],
        ["usage: doit-oci [OPTION...] TARGET... | COMMAND ...", ""],
        [
            "targets (one of every bundle without its name: `doit-oci bundle`):",
            *_table(TARGETS),
            "",
        ],
        *(["commands " + title + ":", *_table(rows), ""] for title, rows in commands),
        ["options, which may stand anywhere before --:", *_table(GLOBAL_OPTIONS), ""],
        ["exit status:", *_table(STATUSES), ""],
        ["`doit-oci help COMMAND` says more; doit's own commands work as well (`doit-oci info`)."],
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _grouped(purposes: dict[str, str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Commands by what people come for; those of no group are named last."""
    rest = {name: purpose for name, purpose in purposes.items() if name != "run"}
    for title, names in GROUPS:
        rows = [(name, rest.pop(name)) for name in names if name in rest]
        if rows:
            yield title, rows
    if rest:
        yield "beside these", sorted(rest.items())


def _table(rows: Any) -> list[str]:
    width = min(max((len(left) for left, _ in rows), default=0), 24)
    lines = []
    for left, right in rows:
        first, *others = _wrapped(right, 76 - width) or [""]
        if len(left) > width:
            lines.append(f"  {left}")
            lines.append(f"  {'':<{width}}  {first}")
        else:
            lines.append(f"  {left:<{width}}  {first}")
        lines += [f"  {'':<{width}}  {line}" for line in others]
    return [line.rstrip() for line in lines]


def _wrapped(text: str, width: int = 78) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def manual_page() -> str:
    """The manual page in the man macros. Every text is escaped."""
    lines = [
        f'.TH DOIT-OCI 1 "" "doit-oci {__version__}" "User Commands"',
        ".SH NAME",
        r"doit-oci \- container images to runnable OCI bundles",
        ".SH SYNOPSIS",
        r".B doit-oci",
        r"[\fIOPTION\fR...] \fITARGET\fR... [\-\- \fIARG\fR...]",
        ".br",
        ".B doit-oci",
        r"\fICOMMAND\fR ...",
        ".SH DESCRIPTION",
        "Images and bundles are declared in images.toml. A graph keyed by digest fetches, unpacks,",
        "configures and runs; only what is out of date is done again.",
        ".SH TARGETS",
        *_roff_table(TARGETS),
        ".SH OPTIONS",
        *_roff_table(GLOBAL_OPTIONS),
        ".SH COMMANDS",
    ]
    for text in all_texts():
        lines += [f".SS {_roff(text.name)}", _roff(text.purpose) + ".", ".PP", _roff(text.usage)]
        if text.description:
            lines += [".PP", _roff(text.description)]
        lines += _roff_table(text.options)
        for line, purpose in text.examples:
            lines += [".PP", _roff(purpose[:1].upper() + purpose[1:]) + ":", ".PP", ".nf"]
            lines += [_roff("    " + line), ".fi"]
    lines += [".SH EXIT STATUS", *_roff_table(STATUSES)]
    lines += [".SH ENVIRONMENT", *_roff_table(ENVIRONMENT)]
    lines += [".SH FILES", *_roff_table(FILES)]
    return "\n".join(lines) + "\n"


ENVIRONMENT = (
    ("DOIT_OCI_DIR", "the state directory, where --dir says nothing"),
    ("REGISTRY_AUTH_FILE, DOCKER_CONFIG", "where credentials are read, as skopeo does"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "proxies for registries"),
    ("SOURCE_DATE_EPOCH", "the time of the files that an export adds, in seconds"),
    ("NO_COLOR, TERM", "how progress is shown"),
)
FILES = (
    ("images.toml", "the declaration"),
    ("images.lock", "what its tags mean; meant to be committed"),
    ("build/", "the state directory; safe to delete"),
)


def _roff_table(rows: Any) -> list[str]:
    return [line for left, right in rows for line in (".TP", rf"\fB{_roff(left)}\fR", _roff(right))]


def _roff(text: str) -> str:
    """A text without anything that roff would act on.

    >>> print(_roff(".a -b"))
    \\&.a \\-b
    """
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = escaped.replace("`", r"\(ga").replace("’", "'").replace("…", "...")
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) else escaped


class Help(StockHelp):  # type: ignore[misc]
    """``help [COMMAND | TARGET]``"""

    name = "help"
    doc_purpose = "show the overview, or a command's help"
    doc_usage = "[COMMAND]"

    def execute(self, params: Any, args: list[str]) -> int:
        word = args[0] if args else ""
        name = "run" if ":" in word else word
        if not word:
            sys.stdout.write(overview())
        elif name in COMMANDS:
            sys.stdout.write(show(command_text(name)))
        elif word == "task" or word in self.cmds:
            return int(super().execute(params, args) or 0)
        else:
            from ..project.suggestion import did_you_mean

            guess = did_you_mean(word, sorted(COMMANDS))
            sys.stderr.write(f"error: {word}: no command of that name{guess}\n")
            return 3
        return 0
