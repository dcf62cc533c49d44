"""The step: its key, the files it reads, and what an image can put in the way of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.config_json import config_key, explain, watched_files, write_config
from tasks.errors import ContentError, ConversionError, DeclarationError, SchemaViolations
from tasks.oci.digest import digest_bytes
from tasks.project.images import load_images
from tasks.project.step_key import step_key
from tests.support.busybox_bundle import Project, image_config
from tests.support.command import doit_oci, expect, steps_done


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def arguments(project: Project, keys: str, raw: bytes | None = None) -> dict[str, Any]:
    """What the step's functions take, for a bundle with these keys."""
    content = json.dumps(image_config()).encode() if raw is None else raw
    blob = project.state / "blobs/sha256" / digest_bytes(content).encoded
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    path = project.folder / "images.toml"
    path.write_text(f'[images.box]\nimage = "x"\n[bundles.box]\n{keys}\n')
    return {
        "image_config": blob,
        "bundle": load_images(path).bundle("box"),
        "rootfs": project.rootfs,
        "entries": project.entries,
        "platform": "linux/amd64",
    }


def key(project: Project, keys: str, raw: bytes | None = None) -> str:
    return step_key(config_key(**arguments(project, keys, raw)))


def test_golden_key(project: Project) -> None:
    """Changed only on purpose, together with the step's epoch."""
    golden = "678e7cfc839b297488fa8f05e796f5f5bacd3693f483e8d8a4395eed1d43f0bb"
    assert key(project, 'user = "web"') == golden


CHANGES = ['user = "1:1"', 'environment = { A = "2" }', "spec = { hostname = 'x' }", "tty = true"]
RUN_ONLY = [
    "timeout = 5",
    "persistent = true",
    "init = true",
    'userns = "private"',
    'cgroup_limits = "if-possible"',
    "log = { max_files = 2 }",
    "stop_grace_period = 1",
    "check = { status = 1 }",
    "# a comment",
]


@pytest.mark.parametrize("keys", CHANGES)
def test_an_override_changes_the_key(project: Project, keys: str) -> None:
    assert key(project, keys) != key(project, "")


@pytest.mark.parametrize("keys", RUN_ONLY)
def test_what_only_a_run_needs_changes_nothing(project: Project, keys: str) -> None:
    assert key(project, keys) == key(project, "")


def test_passwd_is_an_input_only_where_a_name_is_resolved(project: Project) -> None:
    before = {user: key(project, f"user = '{user}'") for user in ("web", "1:1")}
    with (project.rootfs / "etc/passwd").open("a") as file:
        file.write("more:x:50:50::/:\n")
    assert key(project, "user = 'web'") != before["web"]
    assert key(project, "user = '1:1'") == before["1:1"]


def test_an_env_file_is_an_input(project: Project) -> None:
    file = project.folder / "a.env"
    file.write_text("A=1")
    before = key(project, 'env_file = "a.env"')
    file.write_text("A=2")
    assert key(project, 'env_file = "a.env"') != before


def test_the_same_bytes_wherever_the_project_lies(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b/deep"):
        project = Project(tmp_path / name)
        (project.folder / "e").write_text("A=1")
        keys = 'env_file = "e"\nvolumes = ["./data:/d"]\nsecrets = { s = "./e" }'
        config = project.configure(keys)
        assert str(tmp_path) not in json.dumps(config)
        found.add((project.bundle / "config.json").read_bytes())
    assert len(found) == 1


def test_watched_files(project: Project) -> None:
    keys = 'env_file = ["a", { path = "b", required = false }]\nseccomp = "c.json"'
    assert watched_files(arguments(project, keys)["bundle"]) == ["a", "b", "c.json"]
    assert watched_files(arguments(project, 'seccomp = "unconfined"')["bundle"]) == []


def test_written_whole_and_as_its_digest_says(project: Project) -> None:
    destination = project.bundle / "config.json"
    facts = write_config(**arguments(project, ""), destination=destination)
    assert facts["digest"] == str(digest_bytes(destination.read_bytes()))
    assert [path.name for path in project.bundle.iterdir() if "tmp" in path.name] == []


def test_explain_names_the_origin_of_every_leaf(project: Project) -> None:
    found = explain(**{
        name: value
        for name, value in arguments(project, 'user = "web"\ntty = true').items()
        if name != "platform"
    })  # fmt: skip
    assert found["/process/user/uid"] == "bundle: user"
    assert found["/process/terminal"] == "bundle: tty"
    assert found["/process/env/0"] == "image"
    assert found["/hostname"] == "built-in"


def write(project: Project, keys: str, raw: bytes | None = None) -> None:
    write_config(**arguments(project, keys, raw), destination=project.bundle / "config.json")


BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "is no JSON"),
    "a list": (b"[]", "is no object"),
    "config is a text": (b'{"config": "x"}', "is no object"),
    "Env is a text": (b'{"config": {"Env": "A=1"}}', "the image's Env is"),
    "Env of numbers": (b'{"config": {"Env": [1]}}', "more than texts"),
    "User is a number": (b'{"config": {"User": 1}}', "the image's User is 1"),
    "Labels is a list": (b'{"config": {"Labels": []}}', "the image's Labels is"),
    "deep": (b"[" * 100_000, "is no JSON"),
    "no text": (b"\xff", "is no JSON"),
    "half a character": (rb'{"config": {"Cmd": ["\ud800"]}}', "surrogates not allowed"),
}


@pytest.mark.parametrize(("raw", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_bad_image_configurations(project: Project, raw: bytes, message: str) -> None:
    with pytest.raises((ContentError, ConversionError), match=message):
        write(project, 'command = ["x"]', raw)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"Cmd": ["a\0b"]}, "process.args[0]"),
        ({"Env": ["A=\0"]}, "process.env[0]"),
        ({"Labels": {"": "x"}}, 'annotations.""'),
    ],
)
def test_an_image_that_no_runtime_can_run(
    project: Project, config: dict[str, Any], place: str
) -> None:
    """The image is at fault, not the declaration: exit 1."""
    raw = json.dumps(image_config(**config)).encode()
    with pytest.raises(ConversionError, match="asks for what no runtime can do") as caught:
        write(project, "", raw)
    assert place in caught.value.message
    assert caught.value.exit_status == 1


def test_an_image_configuration_that_is_not_there(project: Project) -> None:
    given = arguments(project, "")
    given["image_config"].unlink()
    with pytest.raises(ContentError, match="not in the store"):
        write_config(**given, destination=project.bundle / "config.json")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('env_file = "none.env"', "it is not there"),
        ('seccomp = "none.json"', "it is not there"),
        ('env_file = "folder"', "is no regular file"),
        ('env_file = "fifo"', "is no regular file"),
        ('env_file = "bad.env"', "bad.env:1"),
        ('seccomp = "bad.env"', "no JSON"),
        ('seccomp = "engine.json"', "profile for an engine"),
        ('seccomp = "empty.json"', "lacks defaultAction"),
    ],
)
def test_bad_files(project: Project, keys: str, message: str) -> None:
    (project.folder / "folder").mkdir()
    os.mkfifo(project.folder / "fifo")
    (project.folder / "bad.env").write_text("A")
    (project.folder / "empty.json").write_text("{}")
    engine = {"defaultAction": "SCMP_ACT_ERRNO", "archMap": []}
    (project.folder / "engine.json").write_text(json.dumps(engine))
    with pytest.raises(DeclarationError, match=message) as caught:
        write(project, keys)
    assert caught.value.exit_status == 3


def test_an_optional_env_file_may_be_missing(project: Project) -> None:
    write(project, 'env_file = { path = "none.env", required = false }')


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("process = { cwd = 'rel' }", 'process.cwd: "rel" is wrong; expected an absolute path'),
        ("process = { args = [] }", "process.args: [] is empty"),
        (
            "linux = { namespaces = [{ type = 'uts' }] }",
            "linux.maskedPaths: needs a mount namespace",
        ),
        ("mounts = [{ destination = 'x' }]", "mounts[0].destination"),
        (
            "process = { capabilities = { effective = ['CAP_SYS_ADMIN'] } }",
            "not in the permitted set",
        ),
        ("ociVersion = 'one'", 'ociVersion: "one" is wrong; expected a version like 1.0.2'),
    ],
)
def test_a_spec_that_breaks_the_specification(project: Project, spec: str, place: str) -> None:
    with pytest.raises(SchemaViolations) as caught:
        write(project, f"spec = {{ {spec} }}")
    assert place in str(caught.value)
    assert "(from " in str(caught.value)
    assert not (project.bundle / "config.json").exists()


def replace_passwd(project: Project, how: str) -> None:
    path = project.rootfs / "etc/passwd"
    path.unlink()
    if how == "a fifo":
        os.mkfifo(path)
    elif how == "a directory":
        path.mkdir()
    elif how == "a device":
        os.mknod(path, 0o020666, os.makedev(1, 5))
    elif how == "a socket":
        os.mknod(path, 0o140666)
    else:
        path.symlink_to(how)


@pytest.mark.parametrize("how", ["a fifo", "a directory", "a device", "a socket"])
def test_passwd_that_is_no_file_neither_blocks_nor_counts(project: Project, how: str) -> None:
    replace_passwd(project, how)
    with pytest.raises(Exception, match=r"no regular file|does not know|cannot be read") as caught:
        write(project, 'user = "root"')
    assert not isinstance(caught.value, OSError)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../../../../etc/passwd", "/proc/self/root/etc/passwd"]
)
def test_a_link_to_the_hosts_passwd_does_not_lead_there(project: Project, target: str) -> None:
    """``daemon`` is known to this host and not to the image."""
    assert "daemon:" in Path("/etc/passwd").read_text()
    replace_passwd(project, target)
    with pytest.raises(ConversionError, match="does not know the user 'daemon'"):
        write(project, 'user = "daemon"')


def test_a_folder_that_leads_out_does_not_lead_there(project: Project) -> None:
    (project.rootfs / "etc/passwd").unlink()
    (project.rootfs / "etc/group").unlink()
    (project.rootfs / "etc").rmdir()
    (project.rootfs / "etc").symlink_to("/etc")
    with pytest.raises(ConversionError, match="it has no /etc/passwd"):
        write(project, 'user = "daemon"')


@pytest.mark.parametrize("target", ["/usr/lib/passwd", "../usr/lib/passwd", "/../usr/./lib/passwd"])
def test_a_link_inside_the_image_is_followed(project: Project, target: str) -> None:
    replace_passwd(project, target)
    (project.rootfs / "usr/lib").mkdir(parents=True)
    (project.rootfs / "usr/lib/passwd").write_text("inside:x:77:78::/:\n")
    config = project.configure('user = "inside"')
    assert config["process"]["user"] == {"uid": 77, "gid": 78}


def test_a_circle_of_links_ends(project: Project) -> None:
    replace_passwd(project, "/etc/passwd")
    with pytest.raises(ConversionError, match="it has no /etc/passwd"):
        write(project, 'user = "web"')


def test_a_passwd_without_end_is_refused(project: Project) -> None:
    os.truncate(project.rootfs / "etc/passwd", 1 << 40)
    with pytest.raises(Exception, match="larger than"):
        write(project, 'user = "web"')


def test_editing_an_override_rebuilds_config_json_only(tmp_path: Path) -> None:
    declaration = tmp_path / "images.toml"
    text = '[images.hello]\nimage = "builtin:hello-world"\n[bundles.hello]\nimage = "hello"\n'
    declaration.write_text(text)
    expect(doit_oci(tmp_path, "bundle:hello"))
    declaration.write_text(f"{text}environment = {{ A = '1' }}\n")
    again = doit_oci(tmp_path, "bundle:hello")
    expect(again)
    assert steps_done(again) == ["config", "bundle"]
    declaration.write_text(f"{text}environment = {{ A = '1' }}\ntimeout = 5 # and a comment\n")
    last = doit_oci(tmp_path, "bundle:hello")
    expect(last)
    assert steps_done(last) == []
