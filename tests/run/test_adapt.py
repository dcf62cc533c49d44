"""The pure part: what becomes of a configuration, a signal's name, a log's bytes, a merged path."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.store import cgroup, overlay
from tasks.store.runtime import adapt, log_file
from tasks.store.runtime.find import find_executable, find_runtime
from tasks.store.runtime.prepare import LOG
from tasks.store.runtime.session import log_error
from tasks.store.runtime.signals import parse_signal
from tasks.store.user_namespace import IdMap
from tests.support.bundles import config_json

SINGLE = IdMap(((0, 1000, 1),), ((0, 1000, 1),), None, None)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("nothing", None), ("0", None), ("999", None), ("", None), ("DFL", None), ("TERM+x", None),
        ("_IGN", None), ("_BLOCK", None), ("TERM+3", None), ("²", None), ("9" * 5000, None),
        ("RTMIN+99", None), ("RTMAX-1", signal.SIGRTMAX - 1), ("RTMIN", signal.SIGRTMIN),
    ],
)  # fmt: skip
def test_signal_names(name: str, number: int | None) -> None:
    assert parse_signal(name) == number


def test_no_arguments_keep_the_command() -> None:
    config = config_json(["entry", "cmd"])
    settings = {"entrypoint": ["entry"], "terminal": False, "terminal_type": "xterm", "init": None}
    adapt.set_process(config, args=None, **settings)
    assert config["process"]["args"] == ["entry", "cmd"]
    adapt.set_process(config, args=["", "-x"], **settings)
    assert config["process"]["args"] == ["entry", "", "-x"]


@pytest.mark.parametrize("kept", [["TERM=dumb"], ["A=b"]])
def test_a_terminal_has_a_type(kept: list[str]) -> None:
    config = config_json(["sh"])
    config["process"]["env"] = list(kept)
    adapt.set_process(
        config, entrypoint=[], args=None, terminal=True, terminal_type="vt100", init=None
    )
    wanted = kept if "TERM=dumb" in kept else [*kept, "TERM=vt100"]
    assert config["process"]["env"] == wanted


def test_one_id_has_no_groups_and_no_foreign_owners() -> None:
    config = config_json(["sh"])
    config["process"]["user"]["additionalGids"] = [0, 5]
    config["linux"]["devices"] = [{"path": "/dev/fuse"}]
    config["linux"]["resources"] = {"devices": [{"allow": False}], "pids": {"limit": 3}}
    notes: list[str] = []
    assert adapt.fit_user_namespace(config, SINGLE.has, notes.append) is None
    assert "additionalGids" not in config["process"]["user"]
    assert "devices" not in config["linux"]
    assert config["linux"]["resources"] == {"pids": {"limit": 3}}
    assert not any("gid=5" in mount["options"] for mount in config["mounts"])
    assert len(notes) == 1


def test_an_id_outside_the_map_is_refused() -> None:
    config = config_json(["sh"])
    config["process"]["user"] = {"uid": 0, "gid": 7}
    assert adapt.fit_user_namespace(config, SINGLE.has, lambda _: None) == "gid 7"


def test_capabilities_that_the_host_lacks_are_dropped_and_said() -> None:
    config = config_json(["sh"])
    config["process"]["capabilities"] = {"bounding": ["CAP_CHOWN", "CAP_KILL"]}
    notes: list[str] = []
    adapt.fit_capabilities(config, 1, ["CAP_CHOWN", "CAP_KILL"], notes.append)
    assert config["process"]["capabilities"] == {"bounding": ["CAP_CHOWN"]}
    assert notes == ["this host cannot give CAP_KILL"]


@pytest.mark.parametrize(
    ("resources", "needed"),
    [
        ({}, []),
        ({"devices": [{"allow": False}]}, []),
        ({"memory": {"limit": 1}, "pids": {"limit": 2}}, ["memory", "pids"]),
        ({"cpu": {"quota": 1}}, ["cpu"]),
        ({"cpu": {"cpus": "0"}}, ["cpuset"]),
        ({"cpu": {"cpus": "0", "shares": 2}}, ["cpu", "cpuset"]),
    ],
)
def test_limits_need_controllers(resources: dict[str, object], needed: list[str]) -> None:
    config = config_json(["sh"], linux={"resources": resources})
    assert cgroup.declared_limits(config) == needed
    adapt.drop_limits(config, needed)
    assert cgroup.declared_limits(config) == []


def test_only_x32_leaves_the_filter() -> None:
    seccomp = {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    config = config_json(["sh"], linux={"seccomp": seccomp})
    assert adapt.has_x32(config)
    adapt.drop_x32(config)
    assert not adapt.has_x32(config)
    assert seccomp["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert not adapt.has_x32(config_json(["sh"]))


def test_getting_ready_to_move_moves_nobody() -> None:
    before = cgroup.own_groups()
    cgroup.prepare_to_move()
    assert cgroup.own_groups() == before


@pytest.mark.parametrize("mode", ["none", "host", "user"])
def test_only_none_has_a_namespace_of_the_runtimes(mode: str) -> None:
    config = copy.deepcopy(config_json(["sh"]))
    adapt.set_network(config, mode, "/nowhere")
    assert adapt.has_own_network(config) == (mode == "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ""),
        ('time="x" level=warning msg="old kernel"\n', ""),
        ('time="x" level=error msg="no \\"a\\""\n', 'no "a"'),
        ('{"level":"error","msg":"broken","time":"x"}\n', "broken"),
        ("executable file `a` not found\n", "executable file `a` not found"),
    ],
)
def test_a_runtimes_log_says_why(text: str, message: str) -> None:
    assert log_error(text) == message
    assert LOG.endswith(".log")


@given(st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), st.binary(max_size=40))))
def test_a_log_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[bytes, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = log_file.LogWriter(str(folder / log_file.NAME))
    for stream, block in blocks:
        writer.write(stream, block)
    writer.copy({})
    for name in (b"stdout", b"stderr"):
        written = b"".join(block for stream, block in blocks if stream == name)
        found = log_file.read_log(str(folder))
        assert b"".join(text for stream, text in found if stream == name) == written


def test_a_log_is_rotated_and_keeps_the_newest(tmp_path: Path) -> None:
    writer = log_file.LogWriter(str(tmp_path / log_file.NAME), rotate_at=1000)
    for number in range(200):
        writer.write(b"stdout", b"line %d\n" % number)
    writer.copy({})
    assert len(log_file.log_files(str(tmp_path))) == log_file.KEPT
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000 * log_file.KEPT
    lines = [text for _, text in log_file.read_log(str(tmp_path))]
    assert lines == [b"line %d\n" % number for number in range(200 - len(lines), 200)]


def _tree(folder: Path, **files: str) -> str:
    for name, text in files.items():
        path = folder / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_a_path_is_found_as_the_container_sees_it(tmp_path: Path) -> None:
    upper = _tree(tmp_path / "u", a_new="", d_x="")
    lower = _tree(tmp_path / "l", a_old="", b_gone="", d_hidden="")
    os.mknod(f"{upper}/b", 0o020000, 0)
    os.setxattr(f"{upper}/d", "trusted.overlay.opaque", b"y")
    Path(lower, "up").symlink_to("../../../a")
    Path(lower, "loop").symlink_to("loop")
    layers = (upper, lower)
    expected = {
        "/a/new": f"{upper}/a/new", "/a/old": f"{lower}/a/old", "/up/old": f"{lower}/a/old",
        "/b/gone": None, "/d/hidden": None, "/d/x": f"{upper}/d/x", "/loop": None, "/none": None,
    }  # fmt: skip
    assert {path: overlay.find_in_layers(layers, path) for path in expected} == expected


def test_a_runtime_is_found_by_its_name_path_and_order(tmp_path: Path) -> None:
    program = tmp_path / "my-crun"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_runtime(str(program), ["--debug"]).command("/s", "none") == [
        str(program), "--root", "/s", "--debug",
    ]  # fmt: skip
    assert find_runtime(str(program)).kind == "crun"
    assert find_runtime(None).kind == "runc"
    gvisor = program.rename(tmp_path / "runsc")
    assert find_runtime(str(gvisor), ["--debug"]).command("/s", "host") == [
        str(gvisor), "--root", "/s", "--network", "host", "--debug",
    ]  # fmt: skip
    program = gvisor.rename(program)
    assert find_executable("my-crun", {"PATH": f"relative:{tmp_path}"}) == str(program)
    assert find_executable("my-crun", {}) is None
