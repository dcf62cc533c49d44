"""What this host says of registries: registries.conf, registries.conf.d and certs.d.

A declaration in images.toml stands before all of it. Spec: containers-registries.conf(5),
containers-registries.conf.d(5), containers-certs.d(5).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...errors import DeclarationError
from ...oci.registry_settings import Registry, parse_registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .endpoint import Endpoint

SYSTEM = Path("/etc")
TABLE = rb"(?m)^\s*\[\[\s*registry\s*\]\]"


def host_registries(
    environ: Mapping[str, str], *, warn: Callable[[str], None], system: Path = SYSTEM
) -> tuple[Registry, ...]:
    """Every ``[[registry]]`` table that the host's files have, the most specific file first.

    Files without such a table are not parsed: reading TOML costs more than it tells then.
    """
    found: dict[str, Registry] = {}
    for path in _configuration_files(environ, system):
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        if b"registry" not in raw or not re.search(TABLE, raw):
            continue
        for registry in _parse(raw, path, warn):
            found[registry.prefix] = registry
    return tuple(found.values())


def _configuration_files(environ: Mapping[str, str], system: Path) -> list[Path]:
    """The main file and then the drop-ins by name; a later one replaces an earlier one's tables."""
    alone = environ.get("CONTAINERS_REGISTRIES_CONF")
    if alone:
        return [Path(alone)]
    folders = [system / "containers"]
    if home := _configuration_home(environ):
        folders.append(home)
    mains = [folder / "registries.conf" for folder in folders]
    main = [path for path in mains if path.is_file()][-1:]
    return main + [path for folder in folders for path in _drop_ins(folder / "registries.conf.d")]


def _drop_ins(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(".conf")]


def _configuration_home(environ: Mapping[str, str]) -> Path | None:
    if config := environ.get("XDG_CONFIG_HOME"):
        return Path(config, "containers")
    home = environ.get("HOME")
    return Path(home, ".config", "containers") if home else None


def _parse(raw: bytes, path: Path, warn: Callable[[str], None]) -> Sequence[Registry]:
    import tomllib

    try:
        tables: Any = tomllib.loads(raw.decode()).get("registry", [])
        return [parse_registry(table, folder=path.parent) for table in tables]
    except (ValueError, AttributeError, TypeError, DeclarationError) as error:
        what = error.message if isinstance(error, DeclarationError) else "no valid TOML"
        warn(f"{path}: {what}; the file is not used")
        return []


def with_host_certificates(
    endpoint: Endpoint, environ: Mapping[str, str], *, system: Path = SYSTEM
) -> Endpoint:
    """Add the authorities and client certificates of the first certs.d folder for the host."""
    home = _configuration_home(environ)
    roots = [home] if home else []
    roots += [system / "containers", system / "docker"]
    host = endpoint.name.partition("/")[0]
    for root in roots:
        folder = root / "certs.d" / host
        if not folder.is_dir():
            continue
        pairs = tuple(
            (cert, key)
            for cert in sorted(folder.glob("*.cert"))
            if (key := cert.with_suffix(".key")).is_file()
        )
        return endpoint.replacing(
            authorities=(*endpoint.authorities, *sorted(folder.glob("*.crt"))),
            client_certificates=endpoint.client_certificates or pairs,
        )
    return endpoint
