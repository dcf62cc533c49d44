"""The site builds strictly, and what is made of the code is what the code says today."""

from __future__ import annotations

import ast
import html.parser
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.commands import COMMANDS

from ..support.command import CHECKOUT

sys.path.insert(0, str(CHECKOUT / ".ci" / "docs"))

import pages


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    configuration = CHECKOUT / ".ci" / "docs" / "mkdocs.yml"
    words = ["build", "-q", "--strict", "-f", str(configuration), "-d", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Words(html.parser.HTMLParser):
    """The text of a page, and the addresses from which a browser loads something by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.loaded: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.loaded.append(found.get("src") or "")
        if tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(found.get("href") or "")


def words_of(path: Path) -> Words:
    words = Words()
    words.feed(path.read_text("utf-8"))
    return words


def test_the_site_has_a_page_for_every_part(site: Path) -> None:
    for name in ("index", "tutorial", "errors", "reference/commands", "reference/images-toml"):
        assert (site / f"{name}.html").is_file()


def test_the_reference_names_every_command_and_key(site: Path) -> None:
    commands = words_of(site / "reference/commands.html").text
    assert all(f"doit-oci {name}" in commands for name in COMMANDS if name != "run")
    keys = words_of(site / "reference/images-toml.html").text
    for word in ("mem_limit", "pull_policy", "username_env", "cap_drop", "unpacked_bytes"):
        assert word in keys
    assert "username\n" not in keys, "a key that is refused is none to look up"


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert [each for each in words_of(path).loaded if "//" in each] == [], path


def test_the_catalogue_of_errors_is_that_of_the_code() -> None:
    assert pages.ERRORS_PAGE.read_text("utf-8") == pages.errors_page(), (
        "run `.venv/bin/python .ci/docs/pages.py`"
    )


def test_every_class_of_error_has_a_place_in_the_drawn_family() -> None:
    drawn = pages.errors.__doc__
    assert all(each.__name__ in drawn for each in pages.family())


def test_what_a_place_in_the_code_says_is_read_from_it() -> None:
    source = 'raise A(f"{x}: no {y!r}", subject=s, hint="do" if z else f"try {x}")\nA("b" + "c")'
    found = [said for _, said in pages.said_in(ast.parse(source), {"A"})]
    assert sorted(found) == [("bc", ""), ("…: no …", "do / try …")]
