"""Tab completion: scripts for bash, zsh and fish, and the words they offer, without doit.

The scripts hand the line so far to the hidden word ``__complete``; what comes back is one word a
line. Names come from the table headers; where those are not all, from the compiled declaration
while its text is that of images.toml, or from the lock: neither TOML nor the graph is loaded.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORD = "__complete"
STEPS = ("run", "bundle", "rootfs", "config", "check", "layout", "reset")
OPTIONS = (
    "--locked",
    "--offline",
    "--json",
    "--quiet",
    "--detach",
    "--wait",
    "--dir",
    "--shard",
    "--help",
)
COMMANDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "add": ("nothing", "add an image to images.toml", ("--name", "--platform")),
    "cache": ("cache", "remote cache: push, pull, key", ()),
    "clean": ("bundle", "remove built bundles", ("--dry-run",)),
    "completion": ("shell", "print a shell's completion script", ()),
    "diff": ("either", "compare images, bundles or locks", ("--all",)),
    "digest": ("bundle", "print a bundle's digest", ()),
    "doctor": ("nothing", "print what this host offers", ()),
    "export": ("bundle", "write a bundle as an archive or folder", ("--image",)),
    "fleet": ("bundle", "build on a Dask cluster", ("--scheduler", "--workers", "--all")),
    "forget": ("bundle", "forget that steps were done", ()),
    "gc": ("nothing", "free space", ("--dry-run", "--max-age", "--max-size")),
    "graph": ("target", "draw what targets need", ("--format",)),
    "help": ("command", "show help", ()),
    "import": ("file", "take an exported bundle in", ("--name",)),
    "init": ("nothing", "write a first images.toml", ("--dodo", "--schema")),
    "inspect": ("image", "print an image's description", ("--raw", "--config", "--tags")),
    "list": ("nothing", "list what can be run", ("--all",)),
    "lock": ("image", "resolve tags to digests", ("--check", "--update")),
    "man": ("nothing", "print the manual page", ()),
    "reproduce": ("bundle", "build twice and compare", ()),
    "report": ("nothing", "write a page about the last build", ("--output",)),
    "ps": ("bundle", "list detached containers", ()),
    "exec": ("bundle", "run a command in a running container", ("--user", "--workdir")),
    "logs": ("bundle", "print what a container wrote", ("--follow",)),
    "kill": ("bundle", "send a signal to a container", ()),
    "stop": ("bundle", "stop a container", ()),
    "pause": ("bundle", "freeze a container", ()),
    "resume": ("bundle", "let a frozen container go on", ()),
    "delete": ("bundle", "remove an ended container", ("--force",)),
    "stats": ("bundle", "print a container's figures", ()),
    "schema": ("schema", "print a JSON schema", ()),
    "validate": ("either", "check documents against their schemas", ()),
    "verify": ("either", "rehash what has been built", ()),
    "why": ("target", "say which steps would run and why", ()),
}
"""For each command: what its arguments name, its purpose, its options; a test holds them equal to
the commands themselves, which only doit could load."""

FIXED = ("nothing", "file", "cache", "shell", "command", "schema")

SCRIPTS = {
    "bash": r"""_doit_oci() {
    local line=${COMP_LINE:0:COMP_POINT} word prefix
    word=${line##*[[:space:]]}
    mapfile -t COMPREPLY < <("$1" __complete "$line" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        prefix=${word%"${word##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    fi
    [[ ${COMPREPLY[*]} != *: ]] || compopt -o nospace
}
complete -o default -F _doit_oci doit-oci doitw ./doitw
""",
    "zsh": r"""#compdef doit-oci doitw
_doit_oci() {
    local line word
    local -a words_found shown
    for line in "${(@f)$($words[1] __complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        word=${line%%$'\t'*}
        words_found+=("$word")
        shown+=("${line/$'\t'/  -- }")
    done
    if (( ! $#words_found )); then _files; return; fi
    if [[ $#words_found == 1 && $words_found[1] == *: ]]; then
        compadd -Q -S '' -- $words_found
    else
        compadd -Q -l -d shown -- $words_found
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _doit_oci "$@"; else
    compdef _doit_oci doit-oci doitw
fi
""",
    "fish": r"""function __doit_oci_words
    set -l line (commandline -cp)
    set -l words (commandline -opc)
    $words[1] __complete "$line" 2>/dev/null
end
complete -c doit-oci -f -n 'test (count (__doit_oci_words)) -gt 0' -a '(__doit_oci_words)'
complete -c doitw -f -n 'test (count (__doit_oci_words)) -gt 0' -a '(__doit_oci_words)'
""",
}


def candidates(line: str, folder: str, state: str = "") -> list[str]:
    """The words that can stand where ``line`` ends, each with a tab and a purpose if it has one.

    ``folder`` is where the command line is typed; ``state`` is the state directory if it is not
    ``build``.
    """
    words = line.split()
    last = "" if not words or line[-1:].isspace() else words.pop()
    before = words[1:]
    if "--" in before or (before and before[-1] == "--dir") or last.startswith("--dir="):
        return []
    command = next((word for word in before if not word.startswith("-")), None)
    if last.startswith("-"):
        options = (*(COMMANDS[command][2] if command in COMMANDS else ()), *OPTIONS)
        return [option for option in options if option.startswith(last)]
    if command in COMMANDS:
        return _arguments(COMMANDS[command][0], last, folder, state)
    return _targets(last, folder, state, commands=command is None)


def _arguments(kind: str, last: str, folder: str, state: str) -> list[str]:
    if kind in FIXED:
        words: list[str] = {
            "nothing": [],
            "file": [],
            "cache": ["push", "pull", "key"],
            "shell": list(SCRIPTS),
            "command": [*known_commands()],
            "schema": ["images", "images-lock", "events"],
        }[kind]
        return [word for word in words if word.startswith(last)]
    if kind == "target":
        return _targets(last, folder, state, commands=False)
    images, bundles = declared(folder, state)
    names = {"image": images, "bundle": bundles | images, "either": bundles | images}[kind]
    return sorted(name for name in names if name.startswith(last))


def known_commands() -> list[str]:
    """The commands that there are, those of the table first."""
    from .commands import COMMANDS as PLACES

    return [name for name in COMMANDS if name in PLACES]


def _targets(last: str, folder: str, state: str, *, commands: bool) -> list[str]:
    step, colon, start = last.partition(":")
    if colon:
        if step not in STEPS:
            return []
        images, bundles = declared(folder, state)
        names = images if step == "layout" else images | bundles
        return sorted(f"{step}:{name}" for name in names if name.startswith(start))
    found = [f"{each}:" for each in STEPS if each.startswith(last)]
    if commands:
        found += [
            f"{name}\t{COMMANDS[name][1]}" for name in known_commands() if name.startswith(last)
        ]
    if len(found) == 1 and found[0].endswith(":"):
        return _targets(found[0], folder, state, commands=False) or found
    return found


def declared(folder: str, state: str = "") -> tuple[set[str], set[str]]:
    """The names of images and of bundles in the nearest images.toml upwards."""
    place = folder
    while not os.path.isfile(f"{place}/images.toml"):
        if place in ("/", ""):
            return set(), set()
        place = os.path.dirname(place)
    try:
        with open(f"{place}/images.toml", encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, ValueError):
        return set(), set()
    images, bundles, exact = _headers(text)
    if exact:
        return images, bundles
    base = os.path.join(folder, state) if state else f"{place}/build"
    compiled = _compiled(f"{base}/images.json", text)
    if compiled is not None:
        return compiled
    locked = _locked(f"{place}/images.lock")
    return images | locked[0], bundles | locked[1]


def _compiled(path: str, text: str) -> tuple[set[str], set[str]] | None:
    """The names of the compiled declaration, if it was made from ``text``."""
    from .errors import DeclarationError
    from .project.named_lines import Lines

    try:
        with open(path, "rb") as file:
            lines = Lines(file.read())
        if lines.begins_with({"text": text}):
            return set(lines["images names"]), set(lines["bundles names"])
    except (OSError, KeyError, TypeError, DeclarationError):
        pass
    return None


def _locked(path: str) -> tuple[set[str], set[str]]:
    """The names of a lock. As it is written, each stands on a line four blanks from the left: ten
    thousand entries need not be parsed for the sake of their names."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return set(), set()
    found: dict[str, set[str]] = {"images": set(), "bundles": set()}
    for section, names in found.items():
        start = text.find(f'\n  "{section}": {{')
        inside = text[start : text.find("\n  }", start)] if start >= 0 else ""
        names |= {part.partition('"')[0] for part in inside.split('\n    "')[1:]}
    if any(found.values()):
        return found["images"], found["bundles"]
    lock = _json(path)
    return set(lock.get("images", ())), set(lock.get("bundles", ()))


def _json(path: str) -> dict[str, Any]:
    import json

    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _headers(text: str) -> tuple[set[str], set[str], bool]:
    """The second part of each ``[images.…]`` and ``[bundles.…]``, and whether these are all.

    They are not where ``images`` is an inline table, or its names are dotted keys.
    """
    found: dict[str, set[str]] = {"images": set(), "bundles": set()}
    exact = True
    for line in text.splitlines():
        if line[:1] in "[ \tib" and line.lstrip().startswith(("images", "bundles", "[ ")):
            exact = False
        if not line.startswith("["):
            continue
        kind, dot, rest = line.strip("[] \t").partition(".")
        if not dot and kind.split("]")[0] in found:
            exact = False
        if dot and kind in found:
            quote = rest[:1]
            quoted = quote in ('"', "'")
            name = rest[1:].partition(quote)[0] if quoted else rest.partition(".")[0]
            found[kind].add(name.partition("]")[0].strip())
    return found["images"] - {""}, found["bundles"] - {""}, exact


def complete(line: str) -> int:
    """Write the candidates for a line to standard output: the hidden word's work."""
    from .standard_files import write_output

    state = os.environ.get("DOIT_OCI_DIR", "")
    out = "".join(f"{word}\n" for word in candidates(line, os.getcwd(), state))
    write_output(out.encode())
    return 0
