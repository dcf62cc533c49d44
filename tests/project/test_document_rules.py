"""What no schema can say of documents, each rule with the place where it is broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.oci.merge_patch import merge_patch
from tasks.oci.runtime_config import make_runtime_config
from tasks.project.image_rules import DOCUMENTS
from tasks.project.runtime_rules import runtime_violations, unknown_keys
from tasks.project.schema import Violation

DIGEST = "sha256:" + "a" * 64
EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def places(violations: list[Violation]) -> dict[str, str]:
    return {".".join(map(str, each.path)): each.message for each in violations}


def runtime_config(patch: Mapping[str, Any]) -> Any:
    """The default configuration with a merge patch, also where that makes it wrong."""
    result = make_runtime_config(
        image_config={"os": "linux", "architecture": "amd64", "config": {"Cmd": ["sh"]}},
        overrides={"hostname": "h"},
        passwd=None,
        group=None,
        files={},
        owners={},
        subject="b",
    )
    return merge_patch(result.config, patch)


def linux(**keys: Any) -> dict[str, Any]:
    return {"linux": keys}


def process(**keys: Any) -> dict[str, Any]:
    return {"process": keys}


MOUNT = {"destination": "/a", "type": "tmpfs"}
MAP = {"containerID": 0, "hostID": 0, "size": 10}
USER = {"namespaces": [{"type": name} for name in ("user", "uts", "mount")]}

RUNTIME: dict[str, tuple[dict[str, Any], str, str]] = {
    "no root": ({"root": None}, "", "lacks 'root'"),
    "no arguments": (process(args=None), "process", "lacks 'args'"),
    "a variable twice": (
        process(env=["A=1", "B=1", "A=2"]),
        "process.env.2",
        "a second variable A",
    ),
    "a limit twice": (
        process(rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2),
        "process.rlimits.1",
        "a second limit RLIMIT_CORE",
    ),
    "a soft limit above the hard one": (
        process(rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
        "process.rlimits.0.soft",
        "above the hard limit 1",
    ),
    "effective and not permitted": (
        process(capabilities={"effective": ["CAP_CHOWN"]}),
        "process.capabilities.effective.0",
        "CAP_CHOWN is not in the permitted set",
    ),
    "permitted and not in the bounding set": (
        process(capabilities={"permitted": ["CAP_KILL", "CAP_CHOWN"], "bounding": ["CAP_KILL"]}),
        "process.capabilities.permitted.1",
        "not in the bounding set",
    ),
    "a namespace twice": (
        linux(namespaces=[{"type": "uts"}, {"type": "mount"}, {"type": "uts"}]),
        "linux.namespaces.2",
        "a second namespace uts",
    ),
    "a host name in the host's namespace": (
        linux(namespaces=[{"type": "mount"}]),
        "hostname",
        "needs a uts namespace",
    ),
    "masked paths in the host's mounts": (
        linux(namespaces=[{"type": "uts"}]),
        "linux.maskedPaths",
        "needs a mount namespace",
    ),
    "clocks without a namespace": (
        linux(timeOffsets={"boottime": {"secs": 1}}),
        "linux.timeOffsets",
        "needs a time namespace",
    ),
    "a setting of the host's network": (
        linux(sysctl={"net.x": "1"}, namespaces=[{"type": "uts"}, {"type": "mount"}]),
        "linux.sysctl.net.x",
        "no network namespace",
    ),
    "maps without a user namespace": (
        linux(uidMappings=[MAP]),
        "linux.uidMappings",
        "needs a user namespace",
    ),
    "maps that overlap inside": (
        linux(**USER, uidMappings=[MAP, {"containerID": 9, "hostID": 100, "size": 1}]),
        "linux.uidMappings.1.containerID",
        "overlaps",
    ),
    "maps that overlap outside": (
        linux(**USER, gidMappings=[MAP, {"containerID": 100, "hostID": 5, "size": 1}]),
        "linux.gidMappings.1.hostID",
        "overlaps",
    ),
    "an empty map": (
        linux(**USER, gidMappings=[{**MAP, "size": 0}]),
        "linux.gidMappings.0.size",
        "maps nothing",
    ),
    "two mounts at one place": (
        {"mounts": [MOUNT, {**MOUNT, "destination": "/a/"}]},
        "mounts.1",
        "a second mount at /a",
    ),
    "a mount that leads upwards": (
        {"mounts": [{**MOUNT, "destination": "/a/../.."}]},
        "mounts.0.destination",
        "leads upwards",
    ),
    "a bind mount of nothing": (
        {"mounts": [{"destination": "/a", "options": ["rbind"]}]},
        "mounts.0",
        "without a source",
    ),
    "two devices at one place": (
        linux(devices=[{"type": "p", "path": "/dev/a"}] * 2),
        "linux.devices.1",
        "a second device at /dev/a",
    ),
    "swap below memory": (
        linux(resources={"memory": {"limit": 10, "swap": 5}}),
        "linux.resources.memory.swap",
        "cannot be below limit 10",
    ),
    "a reservation above the limit": (
        linux(resources={"memory": {"limit": 10, "reservation": 11}}),
        "linux.resources.memory.reservation",
        "above limit 10",
    ),
    "a page size twice": (
        linux(resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 1}] * 2}),
        "linux.resources.hugepageLimits.1",
        "a second limit for 2MB",
    ),
    "an error number of an action without one": (
        linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
        "linux.seccomp.defaultErrnoRet",
        "means nothing",
    ),
    "a rule's error number": (
        linux(seccomp={"syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}]}),
        "linux.seccomp.syscalls.0.errnoRet",
        "means nothing",
    ),
    "notified by nobody": (
        linux(seccomp={"syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}]}),
        "linux.seccomp",
        "lacks 'listenerPath'",
    ),
    "another system": ({"windows": {}}, "windows", "another system"),
}


def test_the_default_configuration_is_right() -> None:
    assert runtime_violations(runtime_config({})) == []


@pytest.mark.parametrize(("patch", "place", "message"), RUNTIME.values(), ids=RUNTIME.keys())
def test_runtime_rules(patch: dict[str, Any], place: str, message: str) -> None:
    found = places(runtime_violations(runtime_config(patch)))
    assert message in found[place], found


UNKNOWN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "known": ({"process": {"user": {"umask": 1}}, "linux": {"sysctl": {"any.thing": "1"}}}, []),
    "top": ({"proces": {}}, ["proces"]),
    "deep": ({"linux": {"seccomp": {"sycalls": []}}}, ["linux.seccomp.sycalls"]),
    "in a list": ({"mounts": [{"destination": "/a", "opts": []}]}, ["mounts.0.opts"]),
    "through a reference": ({"hooks": {"poststop": [{"pth": "/a"}]}}, ["hooks.poststop.0.pth"]),
    "taken away": ({"process": {"rlimit": None}}, ["process.rlimit"]),
    "in a map of anything": ({"annotations": {"x": "y"}}, []),
    "in a map of tables": (
        {"linux": {"resources": {"rdma": {"any": {"hcaHandle": 1}}}}},
        ["linux.resources.rdma.any.hcaHandle"],
    ),
}


@pytest.mark.parametrize(("patch", "expected"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_keys_of_a_patch(patch: dict[str, Any], expected: list[str]) -> None:
    assert list(places(unknown_keys(patch))) == expected


def descriptor(**keys: Any) -> dict[str, Any]:
    return {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": DIGEST,
        "size": 2,
        **keys,
    }


LAYER = descriptor(mediaType="application/vnd.oci.image.layer.v1.tar")
MANIFEST = {"schemaVersion": 2, "config": descriptor(), "layers": [LAYER]}
INDEX = {"schemaVersion": 2, "manifests": [descriptor()]}
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
}

IMAGE: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "an index with layers": ("index", {**INDEX, "layers": []}, "layers", "another document"),
    "an index with a config": ("index", {**INDEX, "config": {}}, "config", "another document"),
    "a manifest with manifests": (
        "manifest",
        {**MANIFEST, "manifests": []},
        "manifests",
        "another document",
    ),
    "an unknown algorithm": (
        "index",
        {**INDEX, "manifests": [descriptor(digest="md5:" + "0" * 32)]},
        "manifests.0.digest",
        "not a digest",
    ),
    "a config's algorithm": (
        "manifest",
        {**MANIFEST, "config": descriptor(digest="md5:" + "0" * 32)},
        "config.digest",
        "not a digest",
    ),
    "an unknown kind of layer": (
        "manifest",
        {**MANIFEST, "layers": [{**LAYER, "mediaType": LAYER["mediaType"] + "+lz4"}]},
        "layers.0.mediaType",
        "no kind of layer",
    ),
    "embedded data of another size": (
        "index",
        {**INDEX, "manifests": [descriptor(data="e30K")]},
        "manifests.0.data",
        "has 3 bytes",
    ),
    "embedded data of another digest": (
        "index",
        {**INDEX, "manifests": [descriptor(data="e30=")]},
        "manifests.0.data",
        "another digest",
    ),
    "a reference name": (
        "index",
        {
            **INDEX,
            "manifests": [descriptor(annotations={"org.opencontainers.image.ref.name": "-a b"})],
        },
        "manifests.0.annotations.org.opencontainers.image.ref.name",
        "no reference name",
    ),
    "a diff_id's algorithm": (
        "config",
        {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["md5:" + "0" * 32]}},
        "rootfs.diff_ids.0",
        "not a digest",
    ),
    "a variable twice": (
        "config",
        {**CONFIG, "config": {"Env": ["A=1", "A=2"]}},
        "config.Env.1",
        "a second time",
    ),
    "a signal": (
        "config",
        {**CONFIG, "config": {"StopSignal": "SIGFOO"}},
        "config.StopSignal",
        "no signal",
    ),
    "a port": (
        "config",
        {**CONFIG, "config": {"ExposedPorts": {"70000/tcp": {}}}},
        "config.ExposedPorts.70000/tcp",
        "above port 65535",
    ),
}


@pytest.mark.parametrize(("kind", "document", "place", "message"), IMAGE.values(), ids=IMAGE.keys())
def test_image_rules(kind: str, document: dict[str, Any], place: str, message: str) -> None:
    found = places(DOCUMENTS[kind](document))
    assert message in found[place], found


def test_embedded_data_that_fits() -> None:
    fitting = descriptor(digest=EMPTY, data="e30=")
    assert DOCUMENTS["index"]({**INDEX, "manifests": [fitting]}) == []


@pytest.mark.parametrize("document", [None, 1, "x", [], {}, {"ociVersion": 1}, {"linux": []}])
def test_rules_stand_what_is_no_document(document: Any) -> None:
    assert runtime_violations(document)
    for check in DOCUMENTS.values():
        assert check(document)


def test_real_configurations_of_peers() -> None:
    """What `runc spec` writes, as a fixed point that is not ours."""
    path = Path(__file__).parent.parent / "golden" / "runc-spec-1.1.5.json"
    assert runtime_violations(json.loads(path.read_bytes())) == []
