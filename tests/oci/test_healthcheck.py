"""Health checks: an image's and a declaration's in one, and what answers make of a container."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.oci.canonical_json import canonical
from tasks.oci.healthcheck import Healthcheck, make_healthcheck, parse_healthcheck
from tasks.store.runtime.health import HEALTHY, STARTING, UNHEALTHY, Health, Probe

DEFAULTS = {
    "Interval": 30 * 10**9,
    "Timeout": 30 * 10**9,
    "StartPeriod": 0,
    "StartInterval": 5 * 10**9,
    "Retries": 3,
}
CURL = ["CMD", "curl", "-f", "http://localhost/"]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = {
    "an image's alone": ({"Test": CURL}, {}, {"Test": CURL, **DEFAULTS}),
    "zeros are defaults": (
        {"Test": CURL, "Interval": 0, "Retries": 0},
        {},
        {"Test": CURL, **DEFAULTS},
    ),
    "an image's with times": (
        {"Test": CURL, "Interval": 10**9, "StartPeriod": 2 * 10**9, "Retries": 7},
        {},
        {"Test": CURL, **DEFAULTS, "Interval": 10**9, "StartPeriod": 2 * 10**9, "Retries": 7},
    ),
    "a shell's": (
        {"Test": ["CMD-SHELL", "a && b"]},
        {},
        {"Test": ["CMD", "/bin/sh", "-c", "a && b"], **DEFAULTS},
    ),
    "a shell's, split by buildah": (
        {"Test": ["CMD-SHELL", "test", "-e", "/x"]},
        {},
        {"Test": ["CMD", "/bin/sh", "-c", "test -e /x"], **DEFAULTS},
    ),
    "an image that inherits": ({"Test": []}, {}, None),
    "none": ({"Test": ["NONE"]}, {}, None),
    "nobody says": ({}, {}, None),
    "the declaration alone": ({}, {"test": CURL}, {"Test": CURL, **DEFAULTS}),
    "key by key": (
        {"Test": CURL, "Interval": 10**9, "Timeout": 10**9},
        {"interval": 0.25, "retries": 1},
        {"Test": CURL, **DEFAULTS, "Interval": 250_000_000, "Timeout": 10**9, "Retries": 1},
    ),
    "no start period": (
        {"Test": CURL, "StartPeriod": 10**9},
        {"start_period": 0.0},
        {"Test": CURL, **DEFAULTS},
    ),
    "taken away": ({"Test": CURL}, {"test": ["NONE"]}, None),
}


@pytest.mark.parametrize(("image", "declared", "expected"), CASES.values(), ids=CASES.keys())
def test_image_and_declaration(
    image: dict[str, Any], declared: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert make_healthcheck(image, declared) == expected


def test_the_images_shell_is_used() -> None:
    found = make_healthcheck({"Test": ["CMD-SHELL", "x"]}, {}, ["/bin/bash", "-ec"])
    assert found is not None
    assert found["Test"] == ["CMD", "/bin/bash", "-ec", "x"]


@pytest.mark.parametrize(
    "image",
    [
        {"Test": "curl"},
        {"Test": [1]},
        {"Test": ["curl", "x"]},
        {"Test": ["CMD"]},
        {"Test": ["CMD-SHELL"]},
        {"Test": CURL, "Interval": -1},
        {"Test": CURL, "Interval": "1s"},
        {"Test": CURL, "Retries": 1.5},
    ],
    ids=str,
)
def test_what_an_image_may_not_say(image: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="its "):
        make_healthcheck(image, {})


SECONDS = st.integers(1, 10**7).map(lambda each: each / 1000)


@given(
    args=st.lists(st.text(), min_size=1),
    times=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("interval", "timeout", "start_period"), SECONDS)
    ),
    retries=st.integers(1, 1000),
)
def test_what_is_written_is_read(args: list[str], times: dict[str, float], retries: int) -> None:
    made = make_healthcheck({}, {"test": ["CMD", *args], **times, "retries": retries})
    found = parse_healthcheck(canonical(made).decode())
    assert (found.args, found.retries) == (tuple(args), retries)
    for name, seconds in times.items():
        assert getattr(found, name) == seconds


@given(st.one_of(st.text(), st.recursive(st.integers(), st.lists).map(repr)))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no health check"):
        parse_healthcheck(text)


@pytest.mark.parametrize("change", [{"Interval": 0}, {"Retries": 0}, {"Timeout": -1}, {"Test": []}])
def test_a_check_that_would_spin_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no health check"):
        parse_healthcheck(canonical({"Test": CURL, **DEFAULTS, **change}).decode())


CHECK = Healthcheck(
    args=("x",), interval=30, timeout=30, start_period=10, start_interval=1, retries=2
)
ANSWERS: dict[str, tuple[list[tuple[float, int]], str, int]] = {
    "nothing yet": ([], STARTING, 0),
    "one success": ([(11, 0)], HEALTHY, 0),
    "one failure": ([(11, 1)], STARTING, 1),
    "two failures": ([(11, 1), (12, 1)], UNHEALTHY, 2),
    "failures while it starts": ([(1, 1), (2, 1), (3, 1)], STARTING, 0),
    "then they count": ([(1, 1), (11, 1), (12, 1)], UNHEALTHY, 2),
    "a success ends the start": ([(1, 0), (2, 1)], HEALTHY, 1),
    "and failures count": ([(1, 0), (2, 1), (3, 1)], UNHEALTHY, 2),
    "back again": ([(11, 1), (12, -1), (13, 0)], HEALTHY, 0),
    "one slip": ([(11, 0), (12, 1), (13, 0), (14, 1)], HEALTHY, 1),
}


@pytest.mark.parametrize(("answers", "status", "streak"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_answers_come_to(answers: list[tuple[float, int]], status: str, streak: int) -> None:
    health = Health(CHECK, started=0)
    for moment, code in answers:
        health.take(Probe(start=moment, end=moment, exit_status=code, output=""))
    assert (health.status, health.failing_streak) == (status, streak)


def test_it_is_asked_more_often_while_it_starts() -> None:
    health = Health(CHECK, started=100)
    assert (health.pause(105), health.pause(111)) == (1, 30)
    health.take(Probe(start=106, end=106, exit_status=0, output=""))
    assert health.pause(107) == 30


def test_a_probe_as_ps_shows_it() -> None:
    probe = Probe(start=0.9996, end=1.25, exit_status=1, output="x")
    assert probe.to_json() == {
        "start": "1970-01-01T00:00:00.999Z",
        "end": "1970-01-01T00:00:01.250Z",
        "exitStatus": 1,
        "output": "x",
    }
