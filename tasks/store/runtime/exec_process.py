"""A process beside a container's own, as the runtime's ``exec`` takes it."""

from __future__ import annotations

import json
import os

from .failure import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def write_process(
    folder: str,
    name: str,
    args: Sequence[str],
    *,
    terminal: bool = False,
    user: str | None = None,
    environment: Sequence[str] = (),
    working_dir: str | None = None,
) -> str:
    """Write the container's own process with these changes, and return the file's path.

    Runtimes differ in what else their ``exec`` takes. Raises: RuntimeFailed.
    Spec: runtime-spec config.md, "Process".
    """
    with open(f"{folder}/config.json", encoding="utf-8") as stream:
        process = json.load(stream)["process"]
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
        uid, _, gid = user.partition(":")
        if is_no_number(uid) or (gid and is_no_number(gid)):
            raise failure(f"{user}: expected numbers, UID or UID:GID", name)
        process["user"] = {"uid": int(uid), "gid": int(gid or 0)}
    path = f"{folder}/exec-{os.urandom(4).hex()}.json"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(process, stream)
    return path


def is_no_number(word: str) -> bool:
    return not (word.isascii() and word.isdigit() and len(word) <= 10)
