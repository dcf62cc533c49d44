"""Step config: an image's configuration and a bundle's overrides → ``config.json``.

In: the image-config blob, the bundle's declaration with the files it names (env_file, a seccomp
profile), and the rootfs's own passwd and group where a user has to be looked up. Out: the portable
``config.json``, written whole or not at all. Key: the digests of all these and the overrides.

Spec: image-spec 1.1 conversion.md; runtime-spec 1.2 config.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .errors import (
    ContentError,
    ConversionError,
    DeclarationError,
    DigestMismatch,
    SchemaViolations,
)
from .oci.canonical_json import pretty
from .oci.digest import digest_bytes
from .oci.runtime_config import (
    RuntimeConfigResult,
    account_names,
    make_runtime_config,
    seeded_volumes,
)
from .project.override_keys import RUN_ONLY
from .store.atomic import write_atomic
from .store.directory_owner import directory_owners
from .store.rootfs_file import read_rootfs_file
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .project.images import BundleDeclaration
    from .store.directory_owner import Owner

EPOCH = 3
LARGEST_FILE = 16 << 20


class Sources(Value, kw_only=False):
    """Everything that is read for one config.json."""

    image_config: Mapping[str, Any]
    passwd: bytes | None
    group: bytes | None
    files: Mapping[str, bytes]
    owners: Mapping[str, Owner]


def watched_files(bundle: BundleDeclaration) -> list[str]:
    """Files beside images.toml that the configuration is made from, as they are written there."""
    found = [each["path"] for each in bundle.overrides.get("env_file", ())]
    profile = bundle.overrides.get("security", {}).get("seccomp", "default")
    return found if profile in ("default", "unconfined") else [*found, profile]


def config_key(
    *,
    image_config: Path,
    bundle: BundleDeclaration,
    rootfs: Path,
    entries: Path,
    platform: str,
) -> dict[str, Any]:
    """The five parts of the step's key."""
    sources = read_sources(image_config=image_config, bundle=bundle, rootfs=rootfs, entries=entries)
    inputs: dict[str, Any] = {
        "image_config": f"{image_config.parent.name}:{image_config.name}",
        "files": {name: _digest(content) for name, content in sorted(sources.files.items())},
    }
    for name, content in (("passwd", sources.passwd), ("group", sources.group)):
        if content is not None:
            inputs[name] = _digest(content)
    if sources.owners:
        inputs["owners"] = {name: list(owner) for name, owner in sources.owners.items()}
    return {
        "step": "config",
        "epoch": EPOCH,
        "inputs": inputs,
        "params": {
            "overrides": kept_overrides(bundle),
            "spec": [patch for _, patch in bundle.spec],
            "unset": list(bundle.unset),
        },
        "platform": platform,
    }


def kept_overrides(bundle: BundleDeclaration) -> dict[str, Any]:
    """The overrides that config.json depends on: those of a run alone are left out."""
    return {key: value for key, value in bundle.overrides.items() if key not in RUN_ONLY}


def write_config(
    *,
    image_config: Path,
    bundle: BundleDeclaration,
    rootfs: Path,
    entries: Path,
    platform: str,
    destination: Path,
) -> dict[str, Any]:
    """Write ``config.json`` and return facts: its ``digest``, the ``entrypoint`` that arguments
    from the command line go behind, and ``notes`` for people.

    Raises: ConversionError, DeclarationError, StoreError.
    """
    del platform
    result = convert(image_config=image_config, bundle=bundle, rootfs=rootfs, entries=entries)
    content = pretty(result.config)
    destination.parent.mkdir(parents=True, exist_ok=True)
    # The step's stamp has its digest. A sync would wait for the whole tree beside it to be written.
    write_atomic(destination, content, sync=False)
    return {
        "digest": _digest(content),
        "entrypoint": list(result.entrypoint),
        "notes": list(result.notes),
    }


def convert(
    *, image_config: Path, bundle: BundleDeclaration, rootfs: Path, entries: Path
) -> RuntimeConfigResult:
    """The configuration and where each leaf of it is from, checked and not written.

    Raises: ConversionError, DeclarationError, SchemaViolations, StoreError.
    """
    sources = read_sources(image_config=image_config, bundle=bundle, rootfs=rootfs, entries=entries)
    result = make_runtime_config(
        image_config=sources.image_config,
        overrides=kept_overrides(bundle),
        spec=bundle.spec,
        unset=bundle.unset,
        levels=bundle.origins,
        passwd=sources.passwd,
        group=sources.group,
        files=sources.files,
        owners=sources.owners,
        subject=bundle.name,
    )
    check_result(result, bundle)
    return result


def check_result(result: RuntimeConfigResult, bundle: BundleDeclaration) -> None:
    """Hold the result against the specification, each place with where it came from.

    ``spec`` and hooks can bring in what the declaration's own schema has not seen, and an image
    whatever it likes. Raises: SchemaViolations, or ConversionError where it is the image's doing.
    """
    from .project.runtime_rules import runtime_violations

    violations = runtime_violations(result.config)
    if violations:
        from .oci.config_draft import nearest_origin

        known = result.origins
        origins = [nearest_origin(known, each.path) for each in violations]
        said = tuple(
            f"{each.text()} (from {origin})"
            for each, origin in zip(violations, origins, strict=True)
        )
        if all(origin.startswith("image") for origin in origins):
            raise ConversionError(
                f"the image {bundle.image} asks for what no runtime can do: {'; '.join(said)}",
                subject=bundle.name,
                hint="override it in the bundle, or take it out with unset",
            )
        raise SchemaViolations(
            said,
            subject=f"config.json of {bundle.name}",
            hint="see the runtime specification, config.md, for what may stand there",
        )


def explain(
    *, image_config: Path, bundle: BundleDeclaration, rootfs: Path, entries: Path
) -> dict[str, str]:
    """JSON pointer of every leaf of config.json → where it came from, for ``why config:``."""
    return convert(image_config=image_config, bundle=bundle, rootfs=rootfs, entries=entries).origins


def read_sources(
    *, image_config: Path, bundle: BundleDeclaration, rootfs: Path, entries: Path
) -> Sources:
    """Read what the configuration is made from; ``entries`` are the rootfs's recorded ones.

    Raises: ContentError, ConversionError, DeclarationError.
    """
    value = _image_config(image_config, bundle)
    passwd = group = None
    if account_names(value, bundle.overrides, bundle.unset):
        passwd = read_rootfs_file(rootfs, "etc/passwd")
        group = read_rootfs_file(rootfs, "etc/group")
    try:
        volumes = seeded_volumes(value, bundle.overrides, bundle.unset)
    except ConversionError as error:
        error.subject = bundle.name
        raise
    owners = directory_owners(entries, volumes) if volumes else {}
    return Sources(value, passwd, group, _read_files(bundle), owners)


def needs_tree(*, image_config: Path, bundle: BundleDeclaration) -> bool:
    """Whether the step's key rests on the rootfs too: on its accounts, or on owners of volumes.

    Raises: ContentError, ConversionError.
    """
    value = _image_config(image_config, bundle)
    named = account_names(value, bundle.overrides, bundle.unset)
    return bool(named or seeded_volumes(value, bundle.overrides, bundle.unset))


def _image_config(path: Path, bundle: BundleDeclaration) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
        _check_digest(raw, path, bundle)
        value = json.loads(raw)
        if b"\\u" in raw:  # halves of a character, which no text can hold
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ContentError(
            f"the configuration of {bundle.image} is no JSON: {error}", subject=bundle.name
        ) from error
    except OSError as error:
        raise ContentError(
            f"the configuration of {bundle.image} is not in the store: {error.strerror}",
            subject=bundle.name,
        ) from error
    _check_shape(value, bundle)
    found: Mapping[str, Any] = value
    return found


def _check_digest(raw: bytes, path: Path, bundle: BundleDeclaration) -> None:
    algorithm, encoded = path.parent.name, path.name
    actual = digest_bytes(raw, algorithm)
    if actual.encoded != encoded:
        raise DigestMismatch(
            subject=f"{bundle.name}: the configuration of {bundle.image} in the store",
            expected=f"{algorithm}:{encoded}",
            actual=str(actual),
            hint=f"it is damaged; `doit-oci bundle:{bundle.name}` fetches it anew",
        )


SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "Env": list,
    "Entrypoint": list,
    "Cmd": list,
    "Labels": dict,
    "Volumes": dict,
    "ExposedPorts": dict,
    "User": str,
    "WorkingDir": str,
    "StopSignal": str,
}


def _check_shape(value: Any, bundle: BundleDeclaration) -> None:
    """What the translation takes for granted, for images that nobody has validated."""
    if not isinstance(value, dict) or not isinstance(value.get("config") or {}, dict):
        raise ConversionError(
            f"the configuration of {bundle.image} is no object", subject=bundle.name
        )
    for key, kind in SHAPES.items():
        given = (value.get("config") or {}).get(key)
        if given is not None and not isinstance(given, kind):
            raise ConversionError(
                f"the image's {key} is {json.dumps(given)[:80]}, which the specification forbids",
                subject=bundle.name,
            )
        if isinstance(given, list) and not all(isinstance(word, str) for word in given):
            raise ConversionError(f"the image's {key} holds more than texts", subject=bundle.name)


def _read_files(bundle: BundleDeclaration) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    optional = {
        each["path"] for each in bundle.overrides.get("env_file", ()) if not each["required"]
    }
    for name in watched_files(bundle):
        try:
            content = _read_regular(Path(bundle.folder, name), name)
        except FileNotFoundError:
            if name in optional:
                continue
            raise DeclarationError(
                f"{bundle.name} names this file, and it is not there", subject=name
            ) from None
        except OSError as error:
            raise DeclarationError(f"cannot be read: {error.strerror}", subject=name) from error
        found[name] = content
    return found


def _read_regular(path: Path, name: str) -> bytes:
    import os
    import stat

    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DeclarationError("is no regular file", subject=name)
    with open(handle, "rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise DeclarationError(f"is larger than {LARGEST_FILE} bytes", subject=name)
    return content


def _digest(content: bytes) -> str:
    return str(digest_bytes(content))
