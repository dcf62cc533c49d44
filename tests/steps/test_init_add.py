"""init and add: what they write is valid, and what stood there stays."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.add import add_image, name_of
from tasks.errors import DeclarationError
from tasks.init import DECLARATION, init_project
from tasks.project.declaration import compile_text
from tasks.project.schema import SPECS


def uncommented(text: str) -> str:
    """The template with its examples in force; prose has no TOML in it."""
    lines = []
    for line in text.splitlines():
        words = line.removeprefix("# ")
        is_example = line.startswith("# ") and (words.startswith("[") or " = " in words)
        lines.append(words if is_example else line)
    return "\n".join(lines)


def test_what_init_writes_is_valid(tmp_path: Path) -> None:
    written = init_project(folder=tmp_path, dodo=True, schema=SPECS / "images.schema.json")
    assert sorted(path.name for path in written) == ["dodo.py", "images.schema.json", "images.toml"]
    text = (tmp_path / "images.toml").read_text()
    assert list(compile_text(text, tmp_path / "images.toml")["images"]) == ["hello-world"]
    compile((tmp_path / "dodo.py").read_text(), "dodo.py", "exec")
    assert text.startswith("#:schema ./images.schema.json\n")


def test_its_examples_are_valid_once_their_marks_are_taken_away(tmp_path: Path) -> None:
    value = compile_text(uncommented(DECLARATION), tmp_path / "images.toml")
    assert set(value["images"]) == {"hello-world", "debian"}
    assert "shell" in value["bundles"]


@pytest.mark.parametrize("there", ["images.toml", "dodo.py"])
def test_init_writes_nothing_where_one_file_exists(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(DeclarationError, match="exists already"):
        init_project(folder=tmp_path, dodo=True)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


BUILTIN = 'image = "builtin:hello-world"'
STARTS = {
    "nothing": "",
    "a comment only": "# mine\n",
    "no newline at the end": f"[images.a]\n{BUILTIN} # why",
    "bundles behind images": f'[images.a]\n{BUILTIN}\n\n[bundles.b] # mine\nimage = "a"\n',
    "an inline table": f"images = {{ a = {{ {BUILTIN} }} }} # mine\n",
    "dotted keys": f"images.a.{BUILTIN}\n",
    "a table of dotted keys": f"[images]\na.{BUILTIN}\n",
    "carriage returns": f"[images.a]\r\n{BUILTIN} # mine\r\n",
    "tables in any order": f'[images.a]\n{BUILTIN}\n[bundles.x]\nimage="a"\n[images.z]\n{BUILTIN}',
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_add_keeps_what_stands_there(tmp_path: Path, start: str) -> None:
    path = tmp_path / "images.toml"
    path.write_bytes(start.encode())
    assert add_image(declaration=path, reference="docker.io/library/debian:12-slim") == "debian"
    assert add_image(declaration=path, reference="oci:x:1", name="y", platforms=("linux/arm64",))
    text = path.read_bytes().decode()
    before = tomllib.loads(start)
    after = tomllib.loads(text)
    images = after["images"]
    assert images.pop("debian") == {"image": "docker.io/library/debian:12-slim"}
    assert images.pop("y") == {"image": "oci:x:1", "platforms": ["linux/arm64"]}
    assert {"images": {}, **before} == after
    assert start.count("# mine") == text.count("# mine")
    if not start.startswith("images = "):
        assert text.startswith(start)
    assert ("\r\n" in start) == ("\r\n" in text)
    assert text.count("\n") == text.count("\r\n") or "\r" not in start


@pytest.mark.parametrize(
    ("reference", "name", "said"),
    [
        ("Not A Reference", "x", "lower case"),
        ("debian:12", "a", "already"),
        ("debian:12", "../x", "letter or digit"),
        ("builtin:nope!", "x", "built-in"),
    ],
)
def test_add_refuses_and_changes_nothing(
    tmp_path: Path, reference: str, name: str, said: str
) -> None:
    path = tmp_path / "images.toml"
    path.write_text(f"[images.a]\n{BUILTIN}\n")
    before = path.read_bytes()
    with pytest.raises(DeclarationError, match=said):
        add_image(declaration=path, reference=reference, name=name)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("debian", "debian"),
        ("docker://localhost:5000/a/b_c:1", "b_c"),
        ("oci:x/y:t", "y"),
        ("oci-archive:foo.tar:1", "foo"),
        ("builtin:hello-world", "hello-world"),
        ("a@sha256:" + "0" * 64, "a"),
        ("dir:/tmp/x", "x"),
        ("dir:/", "image"),
    ],
)
def test_a_name_is_taken_from_the_reference(reference: str, name: str) -> None:
    assert name_of(reference) == name


@given(st.text(max_size=30))
def test_a_name_is_always_one_that_the_schema_takes(reference: str) -> None:
    assert name_of(reference)[:1].isalnum()
    assert set(name_of(reference)) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    )
