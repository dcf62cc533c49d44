"""A process beside a container's own, as the runtime's ``exec`` takes it."""

from __future__ import annotations

import json
import os
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def write_process(
    folder: str,
    record: dict[str, Any],
    args: Sequence[str],
    *,
    terminal: bool = False,
    user: str | None = None,
    environment: Sequence[str] = (),
    working_dir: str | None = None,
) -> str:
    """Write the container's own process with these changes, and return the file's path.

    Runtimes differ in what else their ``exec`` takes. Raises: ConversionError, StoreError.
    Spec: runtime-spec config.md, "Process".
    """
    with open(f"{folder}/config.json", encoding="utf-8") as stream:
        config = json.load(stream)
    process = config["process"]
    process["args"] = list(args)
    process["terminal"] = terminal
    process["env"] = [*process.get("env", ()), *environment]
    if terminal:
        from .adapt import set_size

        set_size(process)
    if terminal and not any(item.startswith("TERM=") for item in process["env"]):
        process["env"].append(f"TERM={os.environ.get('TERM') or 'xterm'}")
    if working_dir is not None:
        process["cwd"] = working_dir
    if user is not None:
        # The root as the runtime was given it: what is mounted for it, nobody else sees.
        tree = os.path.join(folder, config["root"]["path"])
        process["user"] = ids_of(user, Path(f"/proc/{record['process']}/root{tree}"))
    path = f"{folder}/exec-{os.urandom(4).hex()}.json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(process, stream)
    return path


def ids_of(user: str, tree: Path) -> dict[str, Any]:
    """``process.user`` of UID or NAME, and :GID or :GROUP; names are looked up in ``tree``."""
    from ...oci.accounts import needs_accounts, resolve_user
    from ..rootfs_file import read_rootfs_file

    passwd = group = None
    if needs_accounts(user):
        passwd, group = (read_rootfs_file(tree, f"etc/{name}") for name in ("passwd", "group"))
    account = resolve_user(user, (), passwd, group)
    ids: dict[str, Any] = {"uid": account.uid, "gid": account.gid}
    if account.additional_gids:
        ids["additionalGids"] = list(account.additional_gids)
    return ids
