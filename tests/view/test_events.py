"""The event stream: its schema, its order, and its agreement with the record."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.view.events import Events, Lines, Record, load_record

from ..support.command import CHECKOUT, doit_oci, expect

TOML = '[images.hello-world]\nimage = "builtin:hello-world"\n'
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((CHECKOUT / "specs/events.schema.json").read_text())
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "images.toml").write_text(TOML)
    return tmp_path


def events_of(said: bytes) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in said.splitlines()]
    for event in found:
        VALIDATOR.validate(event)
    return found


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


def test_a_build_is_told_from_begin_to_end(project: Path) -> None:
    result = doit_oci(project, "run:hello-world", "--json")
    assert "Hello from" in expect(result)
    events = events_of(result.stderr)
    assert [events[0]["event"], events[-1]["event"]] == ["begin", "end"]
    assert events[0]["words"] == ["run:hello-world"]
    assert events[-1]["status"] == 0
    begun = [event["item"] for event in events if event["event"] == "start"]
    ended = [event["item"] for event in events if event["event"] == "finish"]
    assert sorted(begun) == sorted(ended) == sorted(set(begun))
    whys = {event["subject"]: event.get("why") for event in events if event["event"] == "start"}
    assert whys["config:hello-world"] == "it was never built"
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)


def test_the_record_is_the_stream_without_bytes(project: Path) -> None:
    result = doit_oci(project, "bundle:hello-world", "--json")
    expect(result)
    told = [event for event in events_of(result.stderr) if event["event"] != "bytes"]
    assert load_record(project / "build/report/last.jsonl") == told


def test_an_invocation_that_did_nothing_leaves_the_record_alone(project: Path) -> None:
    expect(doit_oci(project, "bundle:hello-world"))
    before = (project / "build/report/last.jsonl").read_bytes()
    again = doit_oci(project, "bundle:hello-world", "--json")
    expect(again)
    hits = [event["subject"] for event in events_of(again.stderr) if event["event"] == "hit"]
    assert "rootfs:hello-world" in hits
    assert (project / "build/report/last.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("toml", "words", "status", "subject"),
    [
        (TOML, ["run:nope"], 3, "nope"),
        ("[images\n", ["list"], 3, "images.toml"),
        (TOML + "[bundles.hello-world]\nspec = {process = {args = 3}}\n", ["bundle"], 3, "config"),
    ],
)
def test_errors_are_events_too(
    project: Path, toml: str, words: list[str], status: int, subject: str
) -> None:
    (project / "images.toml").write_text(toml)
    result = doit_oci(project, *words, "--json")
    expect(result, status)
    events = events_of(result.stderr)
    (error,) = [event for event in events if event["event"] == "error"]
    assert subject in error["subject"]
    assert events[-1]["status"] == status


def test_data_on_standard_output_is_not_mixed_with_events(project: Path) -> None:
    result = doit_oci(project, "list", "--json")
    assert json.loads(expect(result))[0]["target"] == "run:hello-world"
    assert result.stderr == b""


class Clock:
    """Time that goes on by a second with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["start", "advance", "finish", "hit", "note", "error"]),
        st.integers(0, 5),
        st.sampled_from(["blob", "layer", "step"]),
        st.sampled_from(["done", "reused", "failed"]),
    ),
    max_size=30,
)


@given(ACTIONS)
def test_any_sequence_of_calls_gives_a_valid_stream(actions: list[tuple[Any, ...]]) -> None:
    stream = io.StringIO()
    events = Events([Lines(stream)], version="1", clock=Clock())
    moved = 0
    for action, number, kind, outcome in actions:
        if action == "start":
            events.start(kind, f"{kind}:{number}", number or None, why="because")
        elif action == "advance":
            moved += number if number in {item.number for item in events.open_items()} else 0
            events.advance(number, number)
        elif action == "finish":
            events.finish(number, outcome)
        elif action == "hit":
            events.hit(f"blob:{number}", number)
        elif action == "note":
            events.note("a note")
        else:
            events.error("x", "went wrong", hint="try again")
    events.close(0)
    events.close(0)
    told = events_of(stream.getvalue().encode())
    assert [event["event"] for event in told].count("end") == bool(actions and told)
    ended = sum(event["bytes"] for event in told if event["event"] == "finish")
    assert ended + sum(item.done for item in events.open_items()) == moved


def test_a_record_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("in the way")
    events = Events([Record(tmp_path / "report" / "last.jsonl")])
    events.finish(events.start("step", "bundle:x"))
    events.close(0)
    assert load_record(tmp_path / "report" / "last.jsonl") == []


def test_a_reader_that_goes_away_stops_nothing() -> None:
    stream = io.StringIO()
    events = Events([Lines(stream)])
    events.note("heard")
    stream.close()
    events.note("unheard")
    events.close(0)
