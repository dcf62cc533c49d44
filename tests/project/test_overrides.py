"""Merging of levels: Compose's semantics, and what ``unset`` takes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.project.declaration import compile_text
from tasks.project.images import BundleDeclaration
from tasks.project.overrides import Level, merge

from .test_images import declare


def merged(defaults: str = "", base: str = "", own: str = "") -> BundleDeclaration:
    text = f"""
[images.i]
image = "x"
[defaults]
{defaults}
[bundles.base]
{base}
[bundles.b]
image = "i"
extends = "base"
{own}
"""
    return declare(text).bundle("b")


CASES: dict[str, tuple[dict[str, str], str, Any]] = {
    "a plain key is replaced": (
        {"defaults": 'user = "1"', "base": 'user = "2"', "own": 'user = "3"'},
        "user",
        "3",
    ),
    "lists of words are replaced": (
        {"defaults": 'command = ["a", "b"]', "own": 'command = ["c"]'},
        "command",
        ["c"],
    ),
    "environment merges by name, also from a list": (
        {"defaults": 'environment = { A = "1", B = "1" }', "own": 'environment = ["B=2"]'},
        "environment",
        {"A": "1", "B": "2"},
    ),
    "labels and annotations are one": (
        {"defaults": 'labels = { a = "1" }', "own": 'annotations = { a = "2" }'},
        "annotations",
        {"a": "2"},
    ),
    "capabilities add up": (
        {"defaults": 'cap_add = ["CHOWN"]', "own": 'cap_add = ["KILL", "CHOWN"]'},
        "cap_add",
        ["CAP_CHOWN", "CAP_KILL"],
    ),
    "a capability dropped above is no longer added": (
        {"defaults": 'cap_add = ["CHOWN", "FOWNER"]', "own": 'cap_drop = ["CHOWN"]'},
        "cap_add",
        ["CAP_FOWNER"],
    ),
    "a tmpfs takes the place of a volume": (
        {"base": 'volumes = ["./a:/x", "./b:/y"]', "own": 'tmpfs = "/x"'},
        "volumes",
        {"/y": {"type": "bind", "source": "./b", "options": []}},
    ),
    "env_files add up in order": (
        {"defaults": 'env_file = "a"', "own": 'env_file = ["b"]'},
        "env_file",
        [{"path": "a", "required": True}, {"path": "b", "required": True}],
    ),
    "hooks add up by kind": (
        {
            "defaults": 'hooks = { poststop = [{ path = "/a" }] }',
            "own": 'hooks = { poststop = [{ path = "/b" }], prestart = [{ path = "/c" }] }',
        },
        "hooks",
        {"poststop": [{"path": "/a"}, {"path": "/b"}], "prestart": [{"path": "/c"}]},
    ),
    "ulimits merge by name": (
        {"defaults": "ulimits = { nofile = 1, core = 1 }", "own": "ulimits = { core = 2 }"},
        "ulimits",
        {"nofile": {"soft": 1, "hard": 1}, "core": {"soft": 2, "hard": 2}},
    ),
    "unset takes one name out": (
        {"defaults": "environment = { A = 1, B = 1 }", "own": 'unset = ["environment.A"]'},
        "environment",
        {"B": "1"},
    ),
    "unset takes a volume out": (
        {"defaults": 'volumes = ["./a:/x", "./b:/y"]', "own": 'unset = ["volumes./x"]'},
        "volumes",
        {"/y": {"type": "bind", "source": "./b", "options": []}},
    ),
    "what is set above an unset stays": (
        {"base": 'unset = ["environment.A"]', "own": "environment = { A = 2 }"},
        "environment",
        {"A": "2"},
    ),
}


@pytest.mark.parametrize(("levels", "key", "expected"), CASES.values(), ids=CASES.keys())
def test_merge(levels: dict[str, str], key: str, expected: Any) -> None:
    assert merged(**levels).overrides[key] == expected


@pytest.mark.parametrize("key", ["user", "cpus", "volumes", "labels"])
def test_unset_of_a_whole_key(key: str) -> None:
    value = {"user": '"1"', "cpus": "2", "volumes": '["/x"]', "labels": "{ a = 1 }"}[key]
    found = merged(defaults=f"{key} = {value}", own=f'unset = ["{key}"]')
    assert not {"user", "cpu_quota", "volumes", "annotations"} & found.overrides.keys()


def test_unset_reaches_the_image_unless_it_is_set_again() -> None:
    assert merged(own='unset = ["environment.A", "user"]').unset == ("environment.A", "user")
    again = merged(
        base='unset = ["environment.A", "user"]', own='environment = {A = 1}\nuser = "1"'
    )
    assert again.unset == ()


def test_extends_of_extends() -> None:
    text = """
[images.i]
image = "x"
[bundles.a]
image = "i"
user = "1"
environment = { A = 1 }
[bundles.b]
extends = "a"
environment = { B = 1 }
[bundles.c]
extends = "b"
user = "3"
"""
    found = declare(text).bundle("c")
    assert found.image == "i"
    assert found.overrides["user"] == "3"
    assert found.overrides["environment"] == {"A": "1", "B": "1"}
    assert found.origins["/environment/A"] == "extends a"


def test_spec_patches_keep_their_order() -> None:
    found = merged(
        defaults="spec = { root = { readonly = true } }",
        base='spec = { hostname = "base" }',
        own='spec = { hostname = "own" }',
    )
    assert [level for level, _ in found.spec] == ["defaults", "extends base", "bundle"]


def test_no_defaults_are_what_empty_ones_merge_to() -> None:
    merged = merge([Level("defaults", {}, (), None)])
    assert compile_text("", Path("images.toml"))["defaults"] == {
        "overrides": merged.values,
        "origins": merged.origins,
        "spec": merged.spec,
        "unset": merged.unset,
    }
