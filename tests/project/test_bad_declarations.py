"""What is wrong with a declaration: the line, the place, and what to write instead; exit 3."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import DeclarationError, SchemaViolations
from tasks.project.images import load_images
from tests.support.command import doit_oci, expect

LONG = "9" * 5000
HEAD = '[images.i]\nimage = "x"\n'

BAD_BUNDLE: dict[str, tuple[str, str]] = {
    "misspelt": ('comand = ["x"]', 'b.comand: unknown key; did you mean "command"?'),
    "another spelling": ("read-only = true", 'unknown key; did you mean "read_only"?'),
    "far off": ("zzz = 1", "b.zzz: unknown key"),
    "image": ('image = "j"', "b.image: no image 'j' is declared"),
    "entrypoint": (
        "entrypoint = 3",
        "b.entrypoint: 3 is wrong; expected a list of texts, or one text",
    ),
    "entrypoint's quotes": ('entrypoint = "\'a"', "b.entrypoint: cannot be split into words"),
    "command": ("command = [1]", "b.command[0]: 1 is wrong; expected a text"),
    "environment": (
        "environment = { A = [] }",
        "b.environment.A: [] is wrong; expected a text, a number",
    ),
    "environment without a value": (
        'environment = ["HOME"]',
        "b.environment[0]: 'HOME' has no value, and none",
    ),
    "environment twice": ('environment = ["A=1", "A=2"]', "b.environment[1]: A is set twice"),
    "environment's name": ('environment = { "A=B" = 1 }', "is no name of a variable"),
    "env_file": ("env_file = 1", "b.env_file: 1 is wrong; expected a path, or a list of paths"),
    "working_dir": ('working_dir = "rel"', "b.working_dir: 'rel' is no absolute path"),
    "user": ("user = true", "b.user: true is wrong; expected a user"),
    "group_add": ("group_add = [true]", "b.group_add[0]: true is wrong"),
    "read_only": ('read_only = "yes"', 'b.read_only: "yes" is wrong; expected true or false'),
    "tty": ("tty = 1", "b.tty: 1 is wrong; expected true or false"),
    "hostname": ('hostname = "a b"', 'b.hostname: "a b" is wrong; expected at most 64 letters'),
    "domainname": ('domainname = ""', 'b.domainname: "" is empty'),
    "named volume": ('volumes = ["data:/data"]', "b.volumes[0]: 'data' would be a named volume"),
    "relative target": (
        'volumes = ["./a:b"]',
        "b.volumes[0]: 'b' is no absolute path in the container",
    ),
    "target upwards": ('volumes = ["./a:/b/../c"]', "is no absolute path in the container"),
    "volume option": ('volumes = ["./a:/b:xx"]', "b.volumes[0]: 'xx' is no option of a volume"),
    "colons": ('volumes = ["./a:/b:ro:z"]', "b.volumes[0]: './a:/b:ro:z' has too many colons"),
    "volume twice": ('volumes = ["./a:/b", "./c:/b/"]', "b.volumes[1]: a second volume at /b"),
    "long volume": ('volumes = [{ source = "./a" }]', "b.volumes[0]: lacks 'target'"),
    "long volume's key": ('volumes = [{ target = "/a", sorce = "./a" }]', 'did you mean "source"?'),
    "long volume without a source": (
        'volumes = [{ target = "/a" }]',
        "a bind volume needs a source",
    ),
    "volume and tmpfs": ('volumes = ["/a"]\ntmpfs = "/a"', "b.tmpfs: /a is a volume too"),
    "tmpfs": ('tmpfs = ["a"]', "b.tmpfs[0]: 'a' is no absolute path"),
    "tmpfs option": ('tmpfs = ["/a:foo=1"]', "b.tmpfs[0]: 'foo=1' is no option of a tmpfs"),
    "tmpfs size": ('tmpfs = ["/a:size=big"]', "'big' is no size"),
    "device": ('devices = ["/dev/sda"]', "b.devices[0]: /dev/sda has no number that is the same"),
    "device access": ('devices = ["/dev/fuse:/dev/fuse:rx"]', "'rx' is no access"),
    "device table": ('devices = [{ path = "/dev/x", type = "c", major = 1 }]', "b.devices[0]"),
    "capability": (
        'cap_add = ["net_admni"]',
        "b.cap_add[0]: 'net_admni' is no capability; did you mean \"NET_ADMIN\"?",
    ),
    "capability added and dropped": (
        'cap_add = ["KILL"]\ncap_drop = ["KILL"]',
        "b.cap_drop: CAP_KILL is in cap_add too",
    ),
    "security_opt": ('security_opt = ["foo"]', "b.security_opt[0]: 'foo' is no security option"),
    "seccomp twice": ('seccomp = "a"\nsecurity_opt = ["seccomp=b"]', "'seccomp' is set twice"),
    "ulimit": ("ulimits = { nofiles = 1 }", 'b.ulimits.nofiles: "nofiles" is none of'),
    "ulimit's suggestion": ("ulimits = { nofiles = 1 }", 'did you mean "nofile"?'),
    "ulimit soft": (
        "ulimits = { core = { soft = 2, hard = 1 } }",
        "b.ulimits.core: the soft limit 2 is above",
    ),
    "sysctl": ("sysctls = { a = [] }", "b.sysctls.a: [] is wrong"),
    "the host's setting": ("sysctls = { 'vm.swappiness' = 1 }", 'swappiness": belongs to the host'),
    "a user of no number": (
        "user = '4294967295:0'",
        "b.user: 4294967295 is no user or group number",
    ),
    "group": ("group_add = ['99999999999']", "b.group_add: 99999999999 is no user or group"),
    "thousands of digits": (f"mem_limit = '{LONG}m'", "is no size"),
    "thousands of digits of a fraction": (f"mem_limit = '1.{LONG}m'", "is no size"),
    "thousands of digits of a tmpfs": (f"tmpfs = ['/a:size={LONG}']", "is no size"),
    "thousands of digits of a signal": (f"stop_signal = '{LONG}'", "is no signal"),
    "thousands of digits of an offset": (f"stop_signal = 'RTMIN+{LONG}'", "is no signal"),
    "more than all memory there is": ("mem_limit = '9999999999t'", "is no size"),
    "ages": (f"timeout = '{LONG}s'", "is no duration"),
    "for ever": ("timeout = inf", "b.timeout"),
    "other digits": ("mem_limit = '1.٣m'", "is no size"),
    "mem_limit": (
        'mem_limit = "64q"',
        "b.mem_limit: '64q' is no size; expected a number with b, k, m or g",
    ),
    "negative size": ("mem_limit = -2", "b.mem_limit: -2 is wrong; expected a number of bytes"),
    "cpus": ("cpus = 0", "b.cpus: 0 is wrong; expected a number above 0"),
    "cpus as a text": ('cpus = "many"', "b.cpus: 'many' is no number of processors"),
    "cpus twice": ("cpus = 1\ncpu_quota = 1000", "b.cpu_quota: cpus is set too"),
    "cpuset": ('cpuset = "a"', 'b.cpuset: "a" is wrong; expected processors like 0-3,5'),
    "pids_limit": ("pids_limit = -2", "b.pids_limit: -2 is below -1"),
    "network": ('network = "bridge"', 'b.network: "bridge" is none of "none", "host", "user"'),
    "network's suggestion": ('network = "hosts"', 'did you mean "host"?'),
    "annotations twice": ("annotations = {a = 1}\nlabels = {a = 2}", "b.labels: 'a' is set twice"),
    "hooks": ("hooks = { prestar = [] }", 'did you mean "prestart"?'),
    "hook's path": (
        'hooks = { prestart = [{ path = "x" }] }',
        'prestart[0].path: "x" is wrong; expected an absolute path',
    ),
    "secret's name": ('secrets = { "a/b" = "x" }', 'b.secrets."a/b"'),
    "stop_signal": ('stop_signal = "SIGFOO"', "b.stop_signal: 'SIGFOO' is no signal"),
    "timeout": ('timeout = "soon"', "b.timeout: 'soon' is no duration"),
    "unset": ('unset = ["foo.bar"]', "b.unset[0]"),
    "unset and set": (
        'unset = ["environment.A"]\nenvironment = { A = 1 }',
        "b.unset[0]: 'environment.A' is set in the same table",
    ),
    "extends": ('extends = "c"', "b.extends: no bundle 'c'"),
    "extends itself": ('extends = "b"', "b.extends: goes round in a circle: b → b"),
    "platform": ('platform = "linux"', 'b.platform: "linux" is wrong; expected os/architecture'),
    "spec": (
        'spec = { proces = { cwd = "/" } }',
        'b.spec.proces: the runtime specification has no such key; did you mean "process"?',
    ),
    "deep spec": (
        "spec = { linux = { resources = { memory = { limt = 1 } } } }",
        'did you mean "limit"?',
    ),
    "check": ("check = { status = 256 }", "b.check.status: 256 is above 255"),
    "check's file": ('check = { files = { a = "x" } }', "b.check.files.a"),
    "ports": ('ports = ["80:80"]', "b.ports: is refused: publishing ports needs an engine"),
    "depends_on": ('depends_on = ["x"]', "b.depends_on: is refused: a bundle is one container"),
    "build": ('build = "."', "b.build: is refused: images are not built here"),
    "a probe without a way": (
        'healthcheck = { test = ["curl", "x"] }',
        "b.healthcheck.test[0]: 'curl' is no way to ask; expected CMD, CMD-SHELL or NONE",
    ),
    "a probe of nothing": (
        'healthcheck = { test = ["CMD"] }',
        "b.healthcheck.test: has no command behind CMD",
    ),
    "a probe of two texts": (
        'healthcheck = { test = ["CMD-SHELL", "a", "b"] }',
        "b.healthcheck.test: expected one text behind CMD-SHELL",
    ),
    "a probe of none and more": (
        'healthcheck = { test = ["NONE", "a"] }',
        "b.healthcheck.test: has words behind NONE",
    ),
    "a probe's time": (
        'healthcheck = { interval = "soon" }',
        "b.healthcheck.interval: 'soon' is no duration",
    ),
    "a probe without a pause": (
        'healthcheck = { interval = "0s" }',
        "b.healthcheck.interval: '0s' is too short; expected at least 1ms",
    ),
    "a probe that is not": (
        'healthcheck = { test = "x", disable = true }',
        "b.healthcheck.disable: test is set too",
    ),
    "privileged": ("privileged = true", "b.privileged: is refused: say what is needed"),
    "log": ('log = { max_size = "x" }', "b.log.max_size: 'x' is no size"),
}


@pytest.mark.parametrize(("keys", "expected"), BAD_BUNDLE.values(), ids=BAD_BUNDLE.keys())
def test_bad_bundle(tmp_path: Path, keys: str, expected: str) -> None:
    path = tmp_path / "images.toml"
    image = "" if keys.startswith("image") else 'image = "i"\n'
    path.write_text(f"{HEAD}[bundles.b]\n{image}{keys}\n")
    with pytest.raises(SchemaViolations) as caught:
        load_images(path)
    assert caught.value.exit_status == 3
    found = [text for text in caught.value.violations if expected in text]
    assert found, caught.value.violations
    line = int(found[0].split(":")[1])
    assert 3 <= line <= 6
    assert len(caught.value.violations) == 1


BAD_FILE: dict[str, tuple[str, str]] = {
    "no TOML": ("[images", "no valid TOML"),
    "a key twice": ("a = 1\na = 2", "no valid TOML"),
    "top level": ('runtme = "runc"', 'runtme: unknown key; did you mean "runtime"?'),
    "an image's name": (
        '[images."a/b"]\nimage = "x"',
        'images."a/b": "a/b" is wrong; expected a letter',
    ),
    "a name of dots": ('[images.".."]\nimage = "x"', 'images.".."'),
    "no image": ("[images.a]", "images.a: lacks 'image'"),
    "an empty image": ('[images.a]\nimage = ""', "images.a.image"),
    "an image's platform": (
        '[images.a]\nimage = "x"\nplatforms = ["amd64"]',
        "images.a.platforms[0]",
    ),
    "an image's policy": (
        '[images.a]\nimage = "x"\npull_policy = "allways"',
        'did you mean "always"?',
    ),
    "a bundle without an image": (
        "[bundles.b]",
        "bundles.b: has no image, and no image has its name",
    ),
    "a number of thousands of digits": (f"x = {LONG}", "no valid TOML"),
    "images as a list": ("images = []", "images: [] is wrong; expected a table"),
    "a circle of three": (
        '[images.i]\nimage = "x"\n[bundles.a]\nimage = "i"\nextends = "c"\n'
        '[bundles.b]\nextends = "a"\n[bundles.c]\nextends = "b"',
        "bundles.a.extends: goes round in a circle",
    ),
    "a password": (
        '[[registry]]\nprefix = "a"\npassword = "x"',
        "registry[0].password: is refused: secrets do not",
    ),
    "a scheme": ('[[registry]]\nprefix = "a"\nlocation = "https://b"', "registry[0].location"),
    "half a certificate": ('[[registry]]\nprefix = "a"\ncert = "x"', "registry[0]"),
    "a limit": ('[limits]\nunpacked_bytes = "lots"', "limits.unpacked_bytes: 'lots' is no size"),
    "a cache": ('[cache]\nremote = "nowhere"', "cache.remote"),
    "defaults with an image": (
        '[defaults]\nimage = "x"',
        "defaults.image: is refused: it belongs to one bundle",
    ),
    "a default": ("[defaults]\nmem_limit = []", "defaults.mem_limit: [] is wrong"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_FILE.values(), ids=BAD_FILE.keys())
def test_bad_file(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "images.toml"
    path.write_text(text)
    with pytest.raises(DeclarationError) as caught:
        load_images(path)
    assert expected in str(caught.value)
    assert caught.value.exit_status == 3


def test_all_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "images.toml"
    path.write_text(
        'runtme = 1\n[images.i]\nimage = "x"\n[bundles.b]\nimage = "i"\nports = []\n'
        'cap_add = [\n  "KILL",\n  "nope",\n]\n[bundles.c]\nimage = "i"\nmem_limit = "1q"\n'
        "[[registry]]\n[[registry]]\nprefix = 1\n"
    )
    with pytest.raises(SchemaViolations) as caught:
        load_images(path)
    lines = [int(text.split(":")[1]) for text in caught.value.violations]
    assert lines == sorted(lines)
    assert lines == [1, 6, 9, 13, 14, 16]


def test_a_table_with_a_wrong_key_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "images.toml"
    path.write_text(
        f'{HEAD}[bundles.b]\nimage = "j"\nextends = "c"\ntyop = 1\nmem_limit = "1q"\n'
        "environment = { A = [] }\nuser = true\nspec = { proces = {} }\n"
    )
    with pytest.raises(SchemaViolations) as caught:
        load_images(path)
    lines = [int(text.split(":")[1]) for text in caught.value.violations]
    assert lines == [4, 5, 6, 7, 8, 9, 10]


def test_the_command_line_says_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "images.toml").write_text('[images.a]\nimage = "x"\nimagee = 1\n')
    result = doit_oci(tmp_path, "list")
    expect(result, 3)
    assert b'images.toml:3: images.a.imagee: unknown key; did you mean "image"?' in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = '\xe4'"])
def test_no_utf_8(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.toml"
    path.write_bytes(content)
    with pytest.raises(DeclarationError, match="cannot be read"):
        load_images(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="no such file"):
        load_images(tmp_path / "images.toml")
