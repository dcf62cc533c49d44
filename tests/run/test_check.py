"""Checks: a run held against its table, and what CI gets to read."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tasks.check import CheckResult, check_bundle, compare, junit_xml
from tasks.errors import CheckFailed
from tests.support.bundles import Bundle

SCRIPT = "echo out; echo err >&2; echo data > /tmp/f; ln -s /tmp /l; rm /etc/passwd; exit 3"


def _check(box: Bundle, **check: object) -> dict[str, object]:
    settings = {**box.settings(), "check": {"command": ["sh", "-c", SCRIPT], **check}}
    del settings["args"]
    return check_bundle(**settings)


def test_a_check_that_passes(box: Bundle) -> None:
    expected = {
        "status": 3,
        "stdout": ["out", "/^o.t$/"],
        "stderr": "err",
        "files": {"/tmp/f": "data", "/l/f": "/^data$/", "/bin/../etc/../l/f": "data"},
    }
    assert _check(box, **expected)["status"] == 3
    suite = ElementTree.parse(box.project / "build/checks/box.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    box.assert_nothing_left()


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"status": 0}, "status: expected 0, got 3"),
        ({"stdout": "other"}, "stdout: 'other' is not in: out"),
        ({"stdout": "/^ut/"}, "stdout: nothing matches /^ut/ in: out"),
        ({"stderr": ["err", "/(/"]}, "stderr: /(/ is no pattern"),
        ({"files": {"/tmp/g": "x"}}, "/tmp/g: no such file"),
        ({"files": {"/tmp/f": "x"}}, "/tmp/f: 'x' is not in: data"),
        ({"files": {"/etc/passwd": "root"}}, "/etc/passwd: no such file"),
        ({"command": ["sleep", "100"], "timeout": 0.2}, "did not end within 0.2 seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_check_that_fails_says_why(box: Bundle, expected, words: str) -> None:
    with pytest.raises(CheckFailed) as failed:
        _check(box, **{"status": 3, **expected})
    assert words in str(failed.value)
    assert "check:box: 1 difference" in str(failed.value)
    report = ElementTree.parse(box.project / "build/checks/box.xml")
    assert words in report.find(".//failure").get("message")


def test_a_file_of_the_image_counts_too(box: Bundle) -> None:
    _check(box, command=["true"], files={"/etc/passwd": "/^root:/"})


@pytest.mark.parametrize("expected", ["", [], "ab", "/b$/", ["a", "/^b/"]])
def test_expectations_that_hold(expected) -> None:
    assert compare("stdout", expected, b"a\nbab\nb") == []


def test_junit_takes_any_bytes() -> None:
    result = CheckResult(
        name="x", seconds=1.5, status=1, stdout=b"\0\x1b[31m\xff<&>", stderr=b"", problems=["p\x01"]
    )
    root = ElementTree.fromstring(junit_xml([result]))
    assert (root.get("failures"), root.get("time")) == ("1", "1.500")
    assert root.find(".//system-out").text.endswith("<&>")
