"""ImageConfig and overrides → RuntimeConfig: the portable config.json, as a pure translation.

The same inputs give the same bytes on every host: what depends on a host (control group version,
maps of user numbers, adaptations for ordinary users) is added just before the runtime starts.
Spec: image-spec 1.1 conversion.md; runtime-spec 1.2 config.md and config-linux.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import ConversionError
from ..value import Value
from . import runtime_defaults
from .accounts import Account, needs_accounts, resolve_user
from .capability import effective_capabilities
from .config_draft import BUILT_IN, IMAGE, Draft
from .env_file import parse_env_file
from .runtime_annotations import add_annotations
from .runtime_inputs import Inputs
from .runtime_linux import add_linux
from .runtime_mounts import add_mounts, scratch_targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RuntimeConfigResult(Value, kw_only=False):
    """``entrypoint`` is what stays in front of arguments from the command line; ``notes`` are
    things that people should see once.
    """

    draft: Draft
    entrypoint: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def config(self) -> dict[str, Any]:
        return self.draft.config

    @property
    def origins(self) -> dict[str, str]:
        """JSON pointer of each leaf → where it came from; thousands, told when asked for."""
        return self.draft.leaf_origins()


def account_names(
    image_config: Mapping[str, Any], overrides: Mapping[str, Any], unset: Iterable[str] = ()
) -> bool:
    """Whether the rootfs's passwd and group are inputs of its config.json."""
    image = without_unset(image_config.get("config") or {}, unset)
    user = str(overrides.get("user", image.get("User") or ""))
    return needs_accounts(user, tuple(overrides.get("group_add", ())))


def seeded_volumes(
    image_config: Mapping[str, Any], overrides: Mapping[str, Any], unset: Iterable[str] = ()
) -> list[str]:
    """Volumes whose owner in the image is an input. Raises: ConversionError."""
    image = without_unset(image_config.get("config") or {}, unset)
    return scratch_targets(image, overrides)


def make_runtime_config(
    *,
    image_config: Mapping[str, Any],
    overrides: Mapping[str, Any],
    spec: Iterable[tuple[str, Mapping[str, Any]]] = (),
    unset: Iterable[str] = (),
    levels: Mapping[str, str] | None = None,
    passwd: bytes | None,
    group: bytes | None,
    files: Mapping[str, bytes],
    owners: Mapping[str, tuple[int, int, int]],
    subject: str,
) -> RuntimeConfigResult:
    """The portable configuration.

    ``overrides``, ``unset``, ``spec`` and ``levels`` (their origins) are a bundle's, in normal
    form; ``files`` holds the content of its env_files and seccomp profile by their path as it was
    written; ``owners`` the (mode, uid, gid) of the image's directories at volumes.
    Raises: ConversionError, and DeclarationError for a file that is wrong.
    """
    _check_system(image_config, subject)
    unset = tuple(unset)
    inputs = Inputs(
        image=without_unset(image_config.get("config") or {}, unset),
        overrides=overrides,
        levels=levels or {},
        files=files,
        owners=owners,
        architecture=str(image_config.get("architecture") or ""),
    )
    draft, notes = Draft(), list[str]()
    draft.put(("ociVersion",), runtime_defaults.OCI_VERSION, BUILT_IN)
    try:
        account = _add_user(draft, inputs, passwd, group)
        entrypoint = _add_arguments(draft, inputs)
        _add_environment(draft, inputs, account, unset)
        capabilities = _add_process(draft, inputs)
        _add_root(draft, inputs)
        add_mounts(draft, inputs)
        add_linux(draft, inputs, capabilities)
        add_annotations(draft, inputs, image_config, notes)
    except ConversionError as error:
        error.subject = subject
        raise
    for level, patch in spec:
        draft.patch(patch, f"{level}: spec")
    return RuntimeConfigResult(draft, entrypoint, tuple(notes))


def _check_system(image_config: Mapping[str, Any], subject: str) -> None:
    system = image_config.get("os") or "linux"
    if system != "linux":
        raise ConversionError(
            f"the image is for {system}; only Linux images become bundles here",
            subject=subject,
            hint="choose a linux/… platform of it, if it has one",
        )


def without_unset(image: Mapping[str, Any], unset: Iterable[str]) -> dict[str, Any]:
    """The image's ``config`` without what the declaration takes out of it."""
    found = dict(image)
    for path in unset:
        key, _, item = path.partition(".")
        field = {
            "environment": "Env",
            "annotations": "Labels",
            "volumes": "Volumes",
            "entrypoint": "Entrypoint",
            "command": "Cmd",
            "user": "User",
            "working_dir": "WorkingDir",
            "stop_signal": "StopSignal",
            "healthcheck": "Healthcheck",
        }.get(key)
        if key == "healthcheck":
            item = item.title().replace("_", "")
        if field is None:
            continue
        value = found.get(field)
        if not item:
            found.pop(field, None)
        elif isinstance(value, Mapping):
            found[field] = {name: inner for name, inner in value.items() if name != item}
        elif isinstance(value, list):
            found[field] = [text for text in value if str(text).partition("=")[0] != item]
    return found


def _add_user(draft: Draft, inputs: Inputs, passwd: bytes | None, group: bytes | None) -> Account:
    overrides = inputs.overrides
    said = "user" in overrides
    user = str(overrides["user"] if said else inputs.image.get("User") or "")
    account = resolve_user(user, tuple(overrides.get("group_add", ())), passwd, group)
    origin = inputs.origin("user") if said else IMAGE if user else BUILT_IN
    draft.put(
        ("process", "terminal"),
        bool(overrides.get("tty", False)),
        inputs.origin("tty") if "tty" in overrides else BUILT_IN,
    )
    draft.put(("process", "user", "uid"), account.uid, origin)
    draft.put(("process", "user", "gid"), account.gid, origin)
    if account.additional_gids:
        added = inputs.origin("group_add") if "group_add" in overrides else origin
        draft.put(("process", "user", "additionalGids"), list(account.additional_gids), added)
    return account


def _add_arguments(draft: Draft, inputs: Inputs) -> tuple[str, ...]:
    """Entrypoint and Cmd. An entrypoint of the declaration drops the image's Cmd."""
    overrides, image = inputs.overrides, inputs.image
    entrypoint = [(word, IMAGE) for word in image.get("Entrypoint") or ()]
    command = [(word, IMAGE) for word in image.get("Cmd") or ()]
    if "entrypoint" in overrides:
        entrypoint = [(word, inputs.origin("entrypoint")) for word in overrides["entrypoint"]]
        command = []
    if "command" in overrides:
        command = [(word, inputs.origin("command")) for word in overrides["command"]]
    if not entrypoint and not command:
        raise ConversionError(
            "there is nothing to run: neither image nor bundle has an entrypoint or a command",
            subject="",
            hint='set command = ["…"] in the bundle',
        )
    draft.put_list(("process", "args"), entrypoint + command)
    return tuple(word for word, _ in entrypoint)


def _add_environment(draft: Draft, inputs: Inputs, account: Account, unset: Iterable[str]) -> None:
    """The image's variables as they are, then those of files, then those of ``environment``.

    PATH, HOME and TERM are added only where nobody has set them. HOME is known where a user was
    looked up in passwd; elsewhere the runtimes find it themselves, and so it stays out.
    """
    found: dict[str, tuple[str, str]] = {}
    for text in inputs.image.get("Env") or ():
        name, sign, _ = str(text).partition("=")
        if not sign or not name:
            raise ConversionError(
                f"the image's Env has {text!r}, which is no NAME=VALUE",
                subject="",
                hint=f'take it out with unset = ["environment.{name or text}"]',
            )
        found[name] = (str(text), IMAGE)
    known: dict[str, str] = {}
    for file in inputs.overrides.get("env_file", ()):
        content = inputs.files.get(file["path"])
        if content is not None:
            for name, value in parse_env_file(content, subject=file["path"], known=known).items():
                known[name] = value
                if f"environment.{name}" not in unset:
                    origin = f"{inputs.origin('env_file', file['path'])}"
                    found[name] = (f"{name}={value}", origin)
    for name, value in inputs.overrides.get("environment", {}).items():
        found[name] = (f"{name}={value}", inputs.origin("environment", name))
    found.setdefault("PATH", (f"PATH={runtime_defaults.PATH}", BUILT_IN))
    if account.home and "HOME" not in found:
        found["HOME"] = (f"HOME={_home(account)}", "image: /etc/passwd")
    if inputs.overrides.get("tty"):
        found.setdefault("TERM", ("TERM=xterm", BUILT_IN))
    draft.put_list(("process", "env"), list(found.values()))


def _home(account: Account) -> str:
    """The home directory that passwd says, where it is a text at all."""
    try:
        account.home.encode()
    except UnicodeEncodeError:
        raise ConversionError(
            "the home directory of its user in the image's /etc/passwd is no UTF-8",
            subject="",
            hint='say another: environment = { HOME = "/" }',
        ) from None
    return account.home


def _add_process(draft: Draft, inputs: Inputs) -> list[str]:
    overrides = inputs.overrides
    directory = overrides.get("working_dir")
    if directory is not None:
        draft.put(("process", "cwd"), directory, inputs.origin("working_dir"))
    else:
        given = str(inputs.image.get("WorkingDir") or "")
        draft.put(
            ("process", "cwd"),
            given if given.startswith("/") else f"/{given}",
            IMAGE if given else BUILT_IN,
        )
    capabilities = _add_capabilities(draft, inputs)
    _add_limits(draft, inputs)
    security = overrides.get("security", {})
    quiet = security.get("no_new_privileges")
    draft.put(
        ("process", "noNewPrivileges"),
        True if quiet is None else quiet,
        BUILT_IN if quiet is None else inputs.origin("security", "no_new_privileges"),
    )
    for key, field in (("apparmor", "apparmorProfile"), ("selinux_label", "selinuxLabel")):
        if security.get(key):
            draft.put(("process", field), security[key], inputs.origin("security", key))
    if "oom_score_adj" in overrides:
        origin = inputs.origin("oom_score_adj")
        draft.put(("process", "oomScoreAdj"), overrides["oom_score_adj"], origin)
    return capabilities


def _add_capabilities(draft: Draft, inputs: Inputs) -> list[str]:
    added = inputs.overrides.get("cap_add", ())
    dropped = inputs.overrides.get("cap_drop", ())
    held = effective_capabilities(added, dropped)
    items = []
    for name in held:
        said = name if name in added else "ALL"
        items.append((name, inputs.origin("cap_add", said) if said in added else BUILT_IN))
    for kind in ("bounding", "effective", "permitted", "ambient"):
        draft.put_list(("process", "capabilities", kind), items)
    wanted = [(name, origin) for name, origin in items if origin != BUILT_IN]
    if draft.config["process"]["user"]["uid"] and wanted:
        # An ambient capability has to be inheritable too, or the kernel refuses it to an ordinary
        # user; only what was asked for is, because programs in the image could inherit the rest.
        draft.put_list(("process", "capabilities", "inheritable"), wanted)
    return held


def _add_limits(draft: Draft, inputs: Inputs) -> None:
    limits = {"nofile": {"soft": runtime_defaults.OPEN_FILES, "hard": runtime_defaults.OPEN_FILES}}
    given = inputs.overrides.get("ulimits", {})
    items = []
    for name, limit in sorted({**limits, **given}.items()):
        both = {key: (1 << 64) - 1 if limit[key] == -1 else limit[key] for key in ("soft", "hard")}
        origin = inputs.origin("ulimits", name) if name in given else BUILT_IN
        items.append(({"type": f"RLIMIT_{name.upper()}", **both}, origin))
    draft.put_list(("process", "rlimits"), items)


def _add_root(draft: Draft, inputs: Inputs) -> None:
    overrides = inputs.overrides
    draft.put(("root", "path"), "rootfs", BUILT_IN)
    if "read_only" in overrides:
        draft.put(("root", "readonly"), overrides["read_only"], inputs.origin("read_only"))
    if overrides.get("uts") != "host" and "hostname" in overrides:
        draft.put(("hostname",), overrides["hostname"], inputs.origin("hostname"))
    for kind, hooks in sorted(overrides.get("hooks", {}).items()):
        draft.put(("hooks", kind), hooks, inputs.origin("hooks", kind))
