"""Pages that are made of the code: errors, commands, and each schema.

``python .ci/docs/pages.py`` writes docs/errors.md anew; the others are made when the site is built.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from tasks import errors  # noqa: E402
from tasks.errors import DoitOciError  # noqa: E402

ERRORS_PAGE = CHECKOUT / "docs" / "errors.md"
SAME_KEYS = "`platform`, and every key of `[bundles.NAME]` but `image`, `extends` and `check`."
KINDS = {
    "string": "a text",
    "array": "a list",
    "object": "a table",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
ERRORS_HEAD = """\
# Errors

<!-- Made by `python .ci/docs/pages.py` out of tasks/; do not edit. -->

Whatever a user, a network, a registry or an image can cause ends with one of these, in one form:
what it is about, what is wrong, and what to do next. None shows a traceback; a traceback is a bug
in doit-oci, and exit status 2.

```text
error: images.lock: does not fit images.toml:
  image debian is declared and not locked
hint: run `doit lock` and commit the result
```

…  stands for what depends on the case.
"""


class Said(NamedTuple):
    """What one place in the code says when it gives up."""

    message: str
    hint: str


def family() -> list[type[DoitOciError]]:
    """Every class of tasks/errors.py, parents before their children."""
    found: list[type[DoitOciError]] = []

    def walk(parent: type[DoitOciError]) -> None:
        found.append(parent)
        for child in parent.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child)

    walk(DoitOciError)
    return found


def said_in(tree: ast.AST, names: set[str]) -> Iterator[tuple[str, Said]]:
    """What is handed to the family's constructors in one module."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id not in names:
            continue
        hints = [each.value for each in node.keywords if each.arg == "hint"]
        hint = shown(hints[0]) if hints else ""
        if node.args:
            yield node.func.id, Said(shown(node.args[0]), hint)
        elif hint:
            yield node.func.id, Said("", hint)


def shown(node: ast.expr) -> str:
    """A text as people see it, with … for what is only known when it happens."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Constant):
        return ""
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return shown(node.left) + shown(node.right)
    if isinstance(node, ast.IfExp):
        one, other = shown(node.body), shown(node.orelse)
        return " / ".join(text for text in (one, other) if text)
    return "…"


def all_said() -> dict[str, list[Said]]:
    """Class name → what is said under it anywhere in tasks/, each once, in order."""
    names = {each.__name__ for each in family()}
    found: dict[str, set[Said]] = {name: set() for name in names}
    for path in sorted((CHECKOUT / "tasks").rglob("*.py")):
        for name, said in said_in(ast.parse(path.read_text("utf-8")), names):
            if said.message.strip("… :\n") or said.hint.strip("…"):
                found[name].add(said)
    return {name: sorted(each) for name, each in found.items()}


def errors_page() -> str:
    parts = [ERRORS_HEAD]
    said = all_said()
    for each in family():
        depth = len([parent for parent in each.__mro__ if issubclass(parent, DoitOciError)])
        if each is DoitOciError:
            continue
        words = " ".join((inspect.getdoc(each) or "").split())
        parts.append(
            f"{'#' * min(depth, 4)} {each.__name__}\n\n{words} Exit status {each.exit_status}.\n"
        )
        rows = said[each.__name__]
        if rows:
            parts.append("| what is wrong | what to do next |\n|---|---|")
            parts += [f"| {cell(row.message)} | {cell(row.hint)} |" for row in rows]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def cell(text: str) -> str:
    """A text inside a table."""
    plain = " ".join(text.split())
    for mark in "|<>*_[]":
        plain = plain.replace(mark, "\\" + mark) if "`" not in plain or mark == "|" else plain
    return plain


def commands_page() -> str:
    """The commands in Markdown, of the texts that --help shows."""
    from tasks.commands.manual import GLOBAL_OPTIONS, STATUSES, TARGETS, all_texts

    lines = ["# Commands", "", "    doit-oci [OPTION...] TARGET... | COMMAND ...", ""]
    for title, rows in (
        ("Targets", TARGETS),
        ("Options, anywhere before `--`", GLOBAL_OPTIONS),
        ("Exit status", STATUSES),
    ):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| `{left}` | {cell(right)} |" for left, right in rows] + [""]
    for text in all_texts():
        lines += [f"## {text.name}", "", sentence(text.purpose), "", f"    {text.usage}", ""]
        if text.description:
            lines += [text.description, ""]
        if text.options:
            lines += ["| option | |", "|---|---|"]
            lines += [f"| `{typed}` | {cell(words)} |" for typed, words in text.options] + [""]
        for line, purpose in text.examples:
            lines += [f"{sentence(purpose)[:-1]}:", "", f"    {line}", ""]
    return "\n".join(lines)


def api_page() -> str:
    """The Python interface: what tasks/api.py offers, with its own words."""
    from tasks import api

    lines = ["# Python", "", "What `doit_oci.tasks.api` offers; a story of it is in", ""]
    lines[2] += " [From Python](../how-to/python.md)."
    for name in api.__all__:
        found = getattr(api, name)
        lines += [f"## {name}", "", *documented(name, found)]
        if inspect.isclass(found) and found.__module__ == api.__name__:
            for word, member in vars(found).items():
                if word.startswith("_") or not inspect.getdoc(member):
                    continue
                if inspect.isfunction(member) or isinstance(member, property):
                    lines += [f"### {name}.{word}", "", *documented(word, member)]
    return "\n".join(lines)


def documented(name: str, found: Any) -> list[str]:
    """A signature where there is one, and the paragraphs of a docstring."""
    target = found.fget if isinstance(found, property) else found
    shown_as = f"{name}: {inspect.signature(target).return_annotation}"
    if not isinstance(found, property):
        shown_as = f"{name}{inspect.signature(target)}".replace("(self, ", "(")
        # Annotations are texts here, and are shown as texts.
        shown_as = re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown_as)
    words = re.sub(r":\w+:`", "`", inspect.getdoc(found) or "")
    if inspect.isclass(found) and not hasattr(found, "__dataclass_fields__"):
        return [words, ""]
    return [f"    {shown_as}", "", words, ""]


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def schema_page(name: str) -> str:
    """One schema as tables: for each table of the document its keys, kinds and words."""
    schema = json.loads((CHECKOUT / "specs" / f"{name}.schema.json").read_bytes())
    title = schema.get("title", name)
    lines = [f"# {title}", "", schema.get("description", ""), ""]
    lines += [f"The schema itself: `doit-oci schema {name}`.", ""]
    lines += property_table("Top level", {**schema, "description": ""}, schema)
    for alternative in schema.get("oneOf", ()):
        event = alternative["properties"].get("event", {}).get("const", "")
        lines += property_table(alternative.get("title") or f"Event: {event}", alternative, schema)
    for word, part in schema.get("properties", {}).items():
        resolved = resolve(part, schema)
        inner = resolve(resolved.get("additionalProperties") or resolved.get("items") or {}, schema)
        if word == "defaults":
            lines += [f"## [{word}]", "", resolved["description"], "", SAME_KEYS, ""]
        elif resolved.get("properties"):
            lines += property_table(f"[{word}]", resolved, schema)
        elif isinstance(inner, Mapping) and inner.get("properties"):
            heading = f"[[{word}]]" if resolved.get("type") == "array" else f"[{word}.NAME]"
            lines += property_table(heading, inner, schema)
    for word, part in schema.get("$defs", {}).items():
        if part.get("properties") and word not in ("defaults", "bundle", "image", "registry"):
            lines += property_table(str(part.get("title", word)), part, schema)
    return "\n".join(lines)


def resolve(part: Any, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A subschema with what its $ref within the document says, its own words first."""
    if not isinstance(part, Mapping):
        return {}
    reference = part.get("$ref", "")
    if not reference.startswith("#/$defs/"):
        return part
    found = schema["$defs"].get(reference.removeprefix("#/$defs/"), {})
    return {**resolve(found, schema), **{k: v for k, v in part.items() if k != "$ref"}}


def property_table(heading: str, part: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {heading}",
        "",
        part.get("description", ""),
        "",
        "| key | kind | |",
        "|---|---|---|",
    ]
    for key, value in part.get("properties", {}).items():
        found = resolve(value, schema)
        if "x-refused" in found or not found:
            continue
        kind = found.get("x-expected") or found.get("type") or ""
        kinds = kind if isinstance(kind, list) else [kind]
        kind = " or ".join(KINDS.get(each, each) for each in kinds)
        if "const" in found:
            kind = f"`{json.dumps(found['const'])}`"
        if "enum" in found:
            kind = ", ".join(f"`{each}`" for each in found["enum"])
        words = str(found.get("description", ""))
        if "default" in found:
            words += f" Default: `{json.dumps(found['default'])}`."
        if found.get("examples"):
            shown_examples = ", ".join(f"`{json.dumps(each)}`" for each in found["examples"])
            words += f" For example {shown_examples}."
        lines.append(f"| `{key}` | {cell(str(kind))} | {cell(words.strip())} |")
    return [*lines, ""]


def main() -> int:
    """Write docs/errors.md."""
    ERRORS_PAGE.write_text(errors_page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
