"""images.toml → ImageSet: what a declaration comes to, and that reading it back costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import UnknownTarget
from tasks.project import override_keys
from tasks.project.declaration import NOT_OVERRIDES, compile_text
from tasks.project.images import BundleDeclaration, ImageSet
from tasks.project.schema import REFUSED, load_schema
from tests.support.command import CHECKOUT

WHOLE = """
#:schema specs/images.schema.json
runtime = "crun"
[runtimes.mine]
path = "/opt/mine"
args = ["--debug"]
[defaults]
platform = "linux/arm64"
mem_limit = "64m"
environment = { A = "defaults", B = "defaults" }
[[registry]]
prefix = "127.0.0.1:5000"
insecure = true
mirror = [{ location = "mirror.lan:5000" }]
[images.plain]
image = "builtin:hello-world"
[images.other]
image = "docker.io/library/debian:12"
platforms = ["linux/amd64", "linux/arm/v7"]
pull_policy = "never"
[bundles.base]
environment = { B = "base", C = "base" }
volumes = ["./a:/data"]
[bundles.hello]
image = "other"
extends = "base"
environment = ["C=hello"]
volumes = ["./b:/data:ro"]
timeout = "1m30s"
spec = { process = { oomScoreAdj = 5 } }
[bundles.hello.check]
stdout = "Hello"
timeout = 2
[limits]
entries = 10
unpacked_bytes = "1GB"
[cache]
remote = "oci://127.0.0.1:5000/cache"
max_size = "10GB"
[fleet]
scheduler = "tcp://127.0.0.1:8786"
"""


def declare(text: str) -> ImageSet:
    path = Path("/project/images.toml")
    return ImageSet(compile_text(text, path), path)


def bundle(keys: str, *, name: str = "b") -> BundleDeclaration:
    """A bundle of that name with ``keys`` (TOML)."""
    return declare(f'[images.i]\nimage = "x"\n[bundles.{name}]\nimage = "i"\n{keys}').bundle(name)


def test_whole() -> None:
    found = declare(WHOLE)
    assert found.runtime == "crun"
    assert found.runtimes == {"mine": {"path": "/opt/mine", "args": ["--debug"]}}
    assert found.registries[0]["mirror"] == [{"location": "mirror.lan:5000"}]
    assert found.images["other"].platforms == ("linux/amd64", "linux/arm/v7")
    assert found.images["other"].pull_policy == "never"
    assert found.images["plain"].pull_policy == "missing"
    assert found.limits == {"entries": 10, "unpacked_bytes": 1 << 30}
    assert found.cache["max_size"] == 10 << 30
    assert found.fleet == {"scheduler": "tcp://127.0.0.1:8786"}
    assert found.bundle_names() == ["hello", "other", "plain"]


def test_levels_and_their_origins() -> None:
    found = declare(WHOLE).bundle("hello")
    assert found.image == "other"
    assert found.platform == "linux/arm64"
    assert found.overrides["environment"] == {"A": "defaults", "B": "base", "C": "hello"}
    assert found.overrides["mem_limit"] == 64 << 20
    assert found.overrides["volumes"]["/data"]["source"] == "./b"
    assert found.overrides["timeout"] == 90.0
    assert found.check == {"stdout": "Hello", "timeout": 2.0}
    assert found.folder == "/project"
    origins = {
        "/environment/A": "defaults",
        "/environment/B": "extends base",
        "/environment/C": "bundle",
        "/mem_limit": "defaults",
        "/volumes/~1data": "bundle",
        "/hostname": "built-in",
    }
    assert origins.items() <= dict(found.origins).items()
    assert found.spec == (("bundle", {"process": {"oomScoreAdj": 5}}),)


def test_an_image_without_a_bundle_has_one() -> None:
    found = declare(WHOLE).bundle("plain")
    assert (found.name, found.image) == ("plain", "plain")
    assert found.overrides["environment"] == {"A": "defaults", "B": "defaults"}
    assert found.overrides["hostname"] == "plain"


def test_a_template_is_no_bundle() -> None:
    with pytest.raises(UnknownTarget) as caught:
        declare(WHOLE).bundle("base")
    assert caught.value.exit_status == 3


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownTarget, match='did you mean "hello"'):
        declare(WHOLE).bundle("helo")


def test_json_round_trip() -> None:
    found = declare(WHOLE)
    again = ImageSet.from_json(json.loads(json.dumps(found.to_json())), found.path)
    for name in found.bundle_names():
        assert again.bundle(name) == found.bundle(name)
    assert {**again.images} == {**found.images}


@pytest.mark.parametrize("value", [{}, {"format": 0}, [], None])
def test_json_of_another_format_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="format"):
        ImageSet.from_json(value, Path("images.toml"))


def test_reading_back_loads_nothing_heavy() -> None:
    """The warm path's budget: no TOML, no schemas, no dataclasses."""
    compiled = json.dumps(declare(WHOLE).to_json())
    program = (
        "import json, sys; from pathlib import Path; before = set(sys.modules);"
        "from tasks.project.images import ImageSet;"
        f"found = ImageSet.from_json(json.loads({compiled!r}), Path('images.toml'));"
        "found.bundle('hello'); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {
        "tomllib",
        "jsonschema",
        "referencing",
        "dataclasses",
        "inspect",
        "difflib",
        "requests",
    }
    assert not loaded & heavy
    assert "tasks.project.images" in loaded


def test_every_key_of_the_schema_is_read() -> None:
    """A key that the schema allows and nothing reads would be silently without effect."""
    keys = {
        name
        for name, schema in load_schema("images")["$defs"]["bundle"]["properties"].items()
        if REFUSED not in schema
    }
    assert keys == set(override_keys.READERS) | override_keys.PLAIN | NOT_OVERRIDES


def test_ten_thousand_images_are_read_back_lazily() -> None:
    text = "".join(f'[images.i{number}]\nimage = "x:{number}"\n' for number in range(10_000))
    found = declare(text)
    assert len(found.bundle_names()) == 10_000
    assert found.bundle("i77").image == "i77"


NORMAL: dict[str, tuple[str, str, Any]] = {
    "size": ('mem_limit = "1.5g"', "mem_limit", 3 << 29),
    "size of one letter": ('shm_size = "10b"', "shm_size", 10),
    "binary unit": ('mem_limit = "2 KiB"', "mem_limit", 2048),
    "number": ("mem_limit = 4096", "mem_limit", 4096),
    "no swap limit": ("memswap_limit = -1", "memswap_limit", -1),
    "duration": ('stop_grace_period = "1m30s"', "stop_grace_period", 90.0),
    "short duration": ('timeout = "250ms"', "timeout", 0.25),
    "user number": ("user = 0", "user", "0"),
    "cpus": ('cpus = "0.25"', "cpu_quota", 25_000),
    "command text": ("command = \"a 'b c' d\"", "command", ["a", "b c", "d"]),
    "ulimit": ("ulimits = { nofile = 5 }", "ulimits", {"nofile": {"soft": 5, "hard": 5}}),
    "capabilities": ('cap_add = ["net_raw", "CAP_CHOWN"]', "cap_add", ["CAP_CHOWN", "CAP_NET_RAW"]),
    "labels are annotations": ('labels = { "a.b" = 1 }', "annotations", {"a.b": "1"}),
    "sysctl": ("sysctls = { 'net.x' = true }", "sysctls", {"net.x": "true"}),
    "seccomp": ('seccomp = "unconfined"', "security", {"seccomp": "unconfined"}),
    "security_opt with a colon": (
        'security_opt = ["no-new-privileges:false", "apparmor:docker-default"]',
        "security",
        {"no_new_privileges": False, "apparmor": "docker-default"},
    ),
    "env_file": ('env_file = "a.env"', "env_file", [{"path": "a.env", "required": True}]),
    "optional env_file": (
        'env_file = ["a", { path = "b", required = false }]',
        "env_file",
        [{"path": "a", "required": True}, {"path": "b", "required": False}],
    ),
    "stop signal": ("stop_signal = 2", "stop_signal", "SIGINT"),
    "realtime signal": ('stop_signal = "rtmin+3"', "stop_signal", "SIGRTMIN+3"),
    "a probe for the shell": (
        'healthcheck = { test = "a && b", interval = "1m", retries = 1 }',
        "healthcheck",
        {"test": ["CMD-SHELL", "a && b"], "interval": 60.0, "retries": 1},
    ),
    "no probe": ("healthcheck = { disable = true }", "healthcheck", {"test": ["NONE"]}),
    "a probe after all": ("healthcheck = { disable = false }", "healthcheck", {}),
    "group_add": ('group_add = ["audio", 7]', "group_add", ["audio", "7"]),
    "device": (
        'devices = ["/dev/fuse:/dev/f:rw"]',
        "devices",
        {"/dev/f": {"path": "/dev/f", "type": "c", "major": 10, "minor": 229, "access": "rw"}},
    ),
    "volume": (
        'volumes = ["./a/:/b/:ro,rshared"]',
        "volumes",
        {"/b": {"type": "bind", "source": "./a/", "options": ["rshared"], "read_only": True}},
    ),
    "volume without a source": ('volumes = ["/b"]', "volumes", {"/b": {"type": "scratch"}}),
    "long tmpfs": (
        'volumes = [{ type = "tmpfs", target = "/b", tmpfs = { size = "1m", mode = 755 } }]',
        "volumes",
        {
            "/b": {
                "type": "tmpfs",
                "options": ["nosuid", "nodev", "noexec", "mode=755", "size=1048576"],
            }
        },
    ),
    "tmpfs that may run programs": (
        'tmpfs = "/b:exec,size=1k"',
        "tmpfs",
        {"/b": {"type": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=1024"]}},
    ),
    "secret": ('secrets = { a = "x" }', "secrets", {"/run/secrets/a": {"source": "./x"}}),
    "secret with a target": (
        'secrets = { a = { file = "/x", target = "/etc/key" } }',
        "secrets",
        {"/etc/key": {"source": "/x"}},
    ),
}


@pytest.mark.parametrize(("keys", "key", "expected"), NORMAL.values(), ids=NORMAL.keys())
def test_normal_form(keys: str, key: str, expected: Any) -> None:
    assert bundle(keys).overrides[key] == expected


def test_two_spellings_give_one_bundle() -> None:
    first = bundle(
        'environment = ["A=1"]\nmem_limit = "1k"\nentrypoint = "a b"\ncap_drop = ["all"]'
    )
    other = bundle(
        'environment = {A = 1}\nmem_limit = 1024\nentrypoint = ["a", "b"]\ncap_drop = ["ALL"]'
    )
    assert first == other
