"""The conversion, rule by rule. Spec: image-spec 1.1 conversion.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tasks.errors import ConversionError
from tasks.oci.runtime_config import RuntimeConfigResult, make_runtime_config
from tasks.project.runtime_rules import runtime_violations

IMPLICIT = "org.opencontainers.image."
PASSWD = b"root:x:0:0::/root:\nweb:x:33:34::/srv/web:\n"


def convert(
    config: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    /,
    **given: Any,
) -> RuntimeConfigResult:
    """``config`` is the image's ``config`` object; ``given`` are further fields and arguments."""
    arguments = {
        key: given.pop(key, default)
        for key, default in {
            "spec": (),
            "unset": (),
            "levels": {},
            "files": {},
            "owners": {},
        }.items()
    }
    image = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": []},
        **given,
    }
    result = make_runtime_config(
        image_config=image,
        overrides=overrides or {},
        passwd=PASSWD,
        group=b"web:x:34:\n",
        subject="bundle b",
        **arguments,
    )
    assert runtime_violations(result.config) == []
    return result


def annotations(config: Mapping[str, Any] | None = None, **given: Any) -> dict[str, str]:
    found: dict[str, str] = convert(config, **given).config["annotations"]
    return found


def env(result: RuntimeConfigResult) -> list[str]:
    found: list[str] = result.config["process"]["env"]
    return found


def test_arguments() -> None:
    def args(**config: Any) -> list[str]:
        found: list[str] = convert(config).config["process"]["args"]
        return found

    assert args(Entrypoint=["a", "b"], Cmd=["c"]) == ["a", "b", "c"]
    assert args(Entrypoint=["a"], Cmd=None) == ["a"]
    assert args(Entrypoint=None, Cmd=["c"]) == ["c"]


def test_nothing_to_run() -> None:
    with pytest.raises(ConversionError, match="nothing to run") as caught:
        convert({"Cmd": None})
    assert caught.value.subject == "bundle b"
    assert caught.value.hint


def test_no_config_object() -> None:
    assert convert(None, {"command": ["x"]}, config=None).config["process"]["args"] == ["x"]


@pytest.mark.parametrize(
    ("given", "cwd"), [("/srv", "/srv"), ("", "/"), (None, "/"), ("app", "/app"), ("/a b", "/a b")]
)
def test_working_directory(given: str | None, cwd: str) -> None:
    assert convert({"WorkingDir": given}).config["process"]["cwd"] == cwd


def test_environment_is_verbatim_and_defaults_never_override() -> None:
    given = ["PATH=/own", "HOME=/own", "EMPTY=", "A=b=c"]
    assert env(convert({"Env": given, "User": "web"})) == given


def test_defaults_fill_what_is_missing() -> None:
    assert env(convert({"User": "web"})) == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/srv/web",
    ]
    assert "TERM=xterm" in env(convert({}, {"tty": True}))
    assert "TERM=vt100" in env(convert({"Env": ["TERM=vt100"]}, {"tty": True}))


def test_environment_in_its_order_of_precedence() -> None:
    overrides = {
        "env_file": [{"path": "f", "required": True}],
        "environment": {"B": "table", "C": "table"},
    }
    image = {"Env": ["PATH=/p", "A=image", "B=image", "C=image"]}
    found = convert(image, overrides, files={"f": b"A=file\nB=file\nD=file\n"})
    assert env(found) == ["PATH=/p", "A=file", "B=table", "C=table", "D=file"]


@pytest.mark.parametrize("text", ["", "NOVALUE", "=x"])
def test_an_environment_that_is_none(text: str) -> None:
    with pytest.raises(ConversionError, match="NAME=VALUE"):
        convert({"Env": [text]})


def test_annotations_of_everything() -> None:
    found = annotations(
        {"ExposedPorts": {"80/tcp": {}, "443": {}}, "StopSignal": "SIGINT"},
        author="me",
        created="2024-01-01T00:00:00Z",
        variant="v2",
        **{"os.version": "1", "os.features": ["a", "b"]},
    )
    assert found == {
        f"{IMPLICIT}{name}": value
        for name, value in {
            "os": "linux",
            "architecture": "amd64",
            "author": "me",
            "created": "2024-01-01T00:00:00Z",
            "variant": "v2",
            "os.version": "1",
            "os.features": "a,b",
            "stopSignal": "SIGINT",
            "exposedPorts": "443,80/tcp",
        }.items()
    }


def test_labels_win_over_implicit_annotations() -> None:
    found = annotations({"Labels": {f"{IMPLICIT}os": "mine", "x": "y"}, "StopSignal": "SIGINT"})
    assert found[f"{IMPLICIT}os"] == "mine"
    assert found["x"] == "y"


def test_the_declaration_wins_over_labels() -> None:
    found = convert({"Labels": {"x": "image", "z": "1"}}, {"annotations": {"x": "mine"}})
    assert found.config["annotations"]["x"] == "mine"
    assert found.config["annotations"]["z"] == "1"


@pytest.mark.parametrize(
    "name",
    [
        *("run.oci.seccomp_bpf_data", "org.systemd.property.ExecStartPre", "org.criu.config"),
        "doit-oci.healthcheck",
    ],
)
def test_an_image_gives_no_orders_to_runtimes(name: str) -> None:
    found = convert({"Labels": {name: "x"}})
    assert name not in found.config["annotations"]
    assert name in found.notes[0]
    allowed = convert({"Labels": {name: "x"}}, {"annotations": {name: "y"}})
    assert allowed.config["annotations"][name] == "y"


@pytest.mark.parametrize("system", ["windows", "freebsd", "plan9"])
def test_other_systems_are_refused(system: str) -> None:
    with pytest.raises(ConversionError, match=f"the image is for {system}"):
        convert(os=system)


def test_volumes_become_mounts_in_order_of_depth() -> None:
    found = convert({"Volumes": {"/a/b": {}, "/a": {}, "c/": {}}}, owners={"/a": (0o700, 1, 2)})
    mounts = found.config["mounts"][-3:]
    assert [mount["destination"] for mount in mounts] == ["/a", "/c", "/a/b"]
    assert {"tmpcopyup", "mode=700", "uid=1", "gid=2"} <= set(mounts[0]["options"])


@pytest.mark.parametrize(
    "path", ["/", "/a/../..", "", "..", "/proc", "/proc/sys", "sys/fs", "/dev"]
)
def test_volumes_in_impossible_places(path: str) -> None:
    with pytest.raises(ConversionError, match="no place for one"):
        convert({"Volumes": {path: {}}})


def test_a_declared_volume_takes_the_place_of_the_images() -> None:
    volume = {"type": "bind", "source": "./d", "options": []}
    found = convert({"Volumes": {"/a": {}}}, {"volumes": {"/a": volume}})
    mounts = [each for each in found.config["mounts"] if each["destination"] == "/a"]
    assert [mount["source"] for mount in mounts] == ["../../../d"]


def test_a_declared_tmpfs_takes_the_place_of_a_default() -> None:
    overrides = {"tmpfs": {"/dev/shm": {"type": "tmpfs", "options": ["size=1"]}}}
    found = [m for m in convert({}, overrides).config["mounts"] if m["destination"] == "/dev/shm"]
    assert [mount["options"] for mount in found] == [["size=1"]]


@pytest.mark.parametrize(
    ("source", "portable"),
    [
        ("./data", "../../../data"),
        (".", "../../.."),
        ("../up", "../../../../up"),
        ("/srv//x/", "/srv/x"),
        ("~/x", "~/x"),
        ("./a/./b/", "../../../a/b"),
    ],
)
def test_sources_say_nothing_of_the_host(source: str, portable: str) -> None:
    volume = {"type": "bind", "source": source, "options": []}
    assert convert({}, {"volumes": {"/v": volume}}).config["mounts"][-1]["source"] == portable


UNSET: dict[str, tuple[list[str], Any]] = {
    "environment.A": (["process", "env"], ["PATH=/p", "B=1", "HOME=/srv/web"]),
    "environment": (["process", "env"], [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/srv/web",
    ]),
    "entrypoint": (["process", "args"], ["cmd"]),
    "command": (["process", "args"], ["entry"]),
    "user": (["process", "user"], {"uid": 0, "gid": 0}),
    "working_dir": (["process", "cwd"], "/"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), UNSET.items(), ids=UNSET.keys())
def test_unset_reaches_the_image(path: str, expected: tuple[list[str], Any]) -> None:
    image = {
        "Env": ["PATH=/p", "A=1", "B=1"],
        "Entrypoint": ["entry"],
        "Cmd": ["cmd"],
        "User": "web",
        "WorkingDir": "/w",
    }
    found: Any = convert(image, unset=(path,)).config
    where, value = expected
    for key in where:
        found = found[key]
    assert found == value


def test_unset_of_labels_volumes_and_stop_signal() -> None:
    image = {"Labels": {"a": "1", "b": "2"}, "Volumes": {"/v": {}}, "StopSignal": "SIGINT"}
    found = convert(image, unset=("annotations.a", "volumes./v", "stop_signal")).config
    assert found["annotations"] == {
        "b": "2",
        f"{IMPLICIT}os": "linux",
        f"{IMPLICIT}architecture": "amd64",
    }
    assert "/v" not in [mount["destination"] for mount in found["mounts"]]


CHECK = {"Test": ["CMD-SHELL", "a && b"], "Interval": 10**9}
ASKED = {
    "Test": ["CMD", "/bin/sh", "-c", "a && b"],
    "Interval": 10**9,
    "Timeout": 30 * 10**9,
    "Retries": 3,
    "StartPeriod": 0,
    "StartInterval": 5 * 10**9,
}
HEALTH: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, Any] | None]] = {
    "the image's": ({}, (), ASKED),
    "changed": ({"retries": 9}, (), {**ASKED, "Retries": 9}),
    "replaced": ({"test": ["CMD", "x"]}, (), {**ASKED, "Test": ["CMD", "x"]}),
    "disabled": ({"test": ["NONE"]}, (), None),
    "unset": ({}, ("healthcheck",), None),
    "one key unset": ({}, ("healthcheck.interval",), {**ASKED, "Interval": 30 * 10**9}),
}


@pytest.mark.parametrize(("declared", "unset", "expected"), HEALTH.values(), ids=HEALTH.keys())
def test_how_health_is_asked_for(
    declared: dict[str, Any], unset: tuple[str, ...], expected: dict[str, Any] | None
) -> None:
    found = convert({"Healthcheck": CHECK}, {"healthcheck": declared}, unset=unset)
    text = found.config["annotations"].get("doit-oci.healthcheck")
    assert (None if text is None else json.loads(text)) == expected


@pytest.mark.parametrize(
    ("image", "declared", "note"),
    [
        ({"Healthcheck": {"Test": ["curl"]}}, {}, "the image's Healthcheck is left out: its Test"),
        ({}, {"interval": 1.0}, "healthcheck has no test, and neither has the image"),
    ],
)
def test_a_health_check_that_asks_nothing_is_said(
    image: dict[str, Any], declared: dict[str, Any], note: str
) -> None:
    found = convert(image, {"healthcheck": declared})
    assert "doit-oci.healthcheck" not in found.config["annotations"]
    assert found.notes[0].startswith(note)


def test_spec_comes_last_and_can_take_away() -> None:
    patches = (
        ("defaults", {"process": {"noNewPrivileges": False, "rlimits": None}}),
        ("bundle", {"process": {"noNewPrivileges": True}, "linux": {"maskedPaths": ["/x"]}}),
    )
    found = convert({}, {"hostname": "h"}, spec=patches)
    assert found.config["process"]["noNewPrivileges"] is True
    assert "rlimits" not in found.config["process"]
    assert found.config["linux"]["maskedPaths"] == ["/x"]
    assert found.origins["/process/noNewPrivileges"] == "bundle: spec"
    assert found.origins["/linux/maskedPaths/0"] == "bundle: spec"


def test_every_leaf_has_an_origin() -> None:
    levels = {"/environment/A": "defaults", "/mem_limit": "extends base", "/hostname": "built-in"}
    overrides = {"environment": {"A": "1", "B": "2"}, "mem_limit": 5, "hostname": "h"}
    found = convert({"Env": ["PATH=/p"], "Labels": {"x": "y"}}, overrides, levels=levels)
    assert len(found.origins) == count_leaves(found.config)
    expected = {
        "/process/env/0": "image",
        "/process/env/1": "defaults: environment.A",
        "/process/env/2": "bundle: environment.B",
        "/linux/resources/memory/limit": "extends base: mem_limit",
        "/hostname": "built-in",
        "/annotations/x": "image",
        "/root/path": "built-in",
        "/process/args/0": "image",
    }
    assert expected.items() <= found.origins.items()


def count_leaves(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(count_leaves, inner)) or 1


def test_entrypoint_is_handed_on_for_arguments_of_the_command_line() -> None:
    assert convert({"Entrypoint": ["a", "b"], "Cmd": ["c"]}).entrypoint == ("a", "b")
    assert convert({"Cmd": ["c"]}).entrypoint == ()
    assert convert({"Cmd": ["c"]}, {"entrypoint": ["x"]}).entrypoint == ("x",)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("vm.swappiness", {}),
        ("kernel.pid_max", {}),
        ("kernel.hostname", {}),
        ("net.ipv4.ip_forward", {"network": "host"}),
        ("fs.mqueue.msg_max", {"ipc": "host"}),
        ("kernel.domainname", {"uts": "host"}),
    ],
)
def test_settings_of_the_host_are_refused(name: str, overrides: dict[str, Any]) -> None:
    with pytest.raises(ConversionError, match="host"):
        convert({}, {**overrides, "sysctls": {name: "1"}})


def test_namespaces() -> None:
    def types(**overrides: Any) -> list[str]:
        linux = convert({}, overrides).config["linux"]
        return [each["type"] for each in linux["namespaces"]]

    assert types() == ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    assert types(network="user") == types(network="none") == types()
    assert types(network="host", pid="host", ipc="host", uts="host") == ["mount", "cgroup"]


def test_the_image_cannot_change_what_protects_the_host() -> None:
    """Two images may differ in process, mounts of their volumes and annotations, in nothing else."""
    plain = convert({}).config
    wild = convert(
        {
            "User": "web",
            "Env": ["LD_PRELOAD=/x"],
            "Volumes": {"/srv": {}},
            "Labels": {"a": "b"},
            "Memory": 1,
            "CpuShares": 1,
            "Healthcheck": {"Test": ["CMD", "x"]},
            "Unknown": {"x": 1},
        }
    ).config
    for key in ("linux", "root", "ociVersion"):
        assert wild[key] == plain[key]
    for key in ("capabilities", "rlimits", "noNewPrivileges", "terminal"):
        assert wild["process"][key] == plain["process"][key]


def test_a_home_that_is_no_text_is_refused_where_it_counts() -> None:
    passwd = b"app:x:5:5::/h\xff:/bin/sh\n"

    def env(**config: Any) -> list[str]:
        image = {"os": "linux", "config": {"Cmd": ["sh"], "User": "app", **config}}
        given = {"overrides": {}, "group": None, "subject": "b", "files": {}, "owners": {}}
        found = make_runtime_config(image_config=image, passwd=passwd, **given)
        return list(found.config["process"]["env"])

    with pytest.raises(ConversionError, match="no UTF-8"):
        env()
    assert "HOME=/" in env(Env=["HOME=/"])
