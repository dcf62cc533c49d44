"""Who a container's process is: an image's or a bundle's ``user``, looked up in the image itself.

Spec: image-spec 1.1 conversion.md, "Config.User"; config.md, "User"; passwd(5), group(5).
"""

from __future__ import annotations

from ..errors import ConversionError
from ..value import Value

LARGEST_ID = 0xFFFF_FFFE
"""The next number means "no change" to chown(2)."""


class Account(Value, kw_only=False):
    """``home`` is empty where no entry of passwd says one."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


class PasswdEntry(Value, kw_only=False):
    """The fields of passwd(5) that count here."""

    name: str
    uid: int
    gid: int
    home: str


class GroupEntry(Value, kw_only=False):
    """The fields of group(5) that count here."""

    name: str
    gid: int
    members: tuple[str, ...]


def needs_accounts(user: str, groups: tuple[str, ...] = ()) -> bool:
    """Whether the image's own passwd or group has to be read.

    >>> needs_accounts("1000:1000"), needs_accounts("www-data"), needs_accounts("")
    (False, True, False)
    """
    name, colon, group = user.partition(":")
    if any(not _is_number(word) for word in groups):
        return True
    if not user:
        return False
    return not _is_number(name) or not colon or not _is_number(group)


def resolve_user(
    user: str, groups: tuple[str, ...], passwd: bytes | None, group: bytes | None
) -> Account:
    """The account of ``user``, with ``groups`` added. Raises: ConversionError.

    A number is taken as it is, whether or not passwd knows it; its group is the one that passwd
    gives it, else 0. A name has to be there.
    """
    members = _parse_group(group or b"")
    added = tuple(_group_number(word, members, group is not None) for word in groups)
    if not user:
        return Account(0, 0, added, "")
    name, colon, group_word = user.partition(":")
    entry = _find_user(name, _parse_passwd(passwd or b""))
    if entry is None and not _is_number(name):
        raise _unknown("user", name, "/etc/passwd", passwd is not None)
    uid = entry.uid if entry and not _is_number(name) else _number(name, user)
    home = entry.home if entry else ""
    if colon and group_word:
        return Account(uid, _group_number(group_word, members, group is not None), added, home)
    gid = entry.gid if entry else 0
    if _is_number(name):
        return Account(uid, gid, added, home)
    listed = tuple(each.gid for each in members if name in each.members and each.gid != gid)
    return Account(uid, gid, tuple(dict.fromkeys((*listed, *added))), home)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()


def is_too_large(word: str) -> bool:
    """Whether it is a number, and one that no user or group has."""
    digits = word.lstrip("0")
    return _is_number(word) and (len(digits) > 10 or int(digits or "0") > LARGEST_ID)


def _number(word: str, subject: str) -> int:
    if not _is_number(word) or is_too_large(word):
        raise ConversionError(
            f"{word!r} is no user or group number; the largest is {LARGEST_ID}", subject=subject
        )
    return int(word)


def _find_user(name: str, entries: list[PasswdEntry]) -> PasswdEntry | None:
    if _is_number(name):
        return next(
            (
                each
                for each in entries
                if str(each.uid) == name.lstrip("0") or (each.uid == 0 and not name.strip("0"))
            ),
            None,
        )
    return next((each for each in entries if each.name == name), None)


def _group_number(word: str, entries: list[GroupEntry], has_file: bool) -> int:
    if _is_number(word):
        return _number(word, word)
    found = next((each for each in entries if each.name == word), None)
    if found is None:
        raise _unknown("group", word, "/etc/group", has_file)
    return found.gid


def _unknown(kind: str, name: str, file: str, has_file: bool) -> ConversionError:
    why = f"its {file} has no {kind} of that name" if has_file else f"it has no {file}"
    return ConversionError(
        f"the image does not know the {kind} {name!r}: {why}",
        subject=name,
        hint='use a number, as in user = "1000:1000"',
    )


def _fields(content: bytes) -> list[list[str]]:
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    return [line.split(":") for line in lines if line.strip() and not line.startswith("#")]


def _parse_passwd(content: bytes) -> list[PasswdEntry]:
    """Lines that are none are passed over, as the C library does."""
    return [
        PasswdEntry(fields[0], int(fields[2]), int(fields[3]), fields[5])
        for fields in _fields(content)
        if len(fields) >= 6 and _is_id(fields[2]) and _is_id(fields[3])
    ]


def _parse_group(content: bytes) -> list[GroupEntry]:
    return [
        GroupEntry(fields[0], int(fields[2]), tuple(filter(None, fields[3].split(","))))
        for fields in _fields(content)
        if len(fields) >= 4 and _is_id(fields[2])
    ]


def _is_id(word: str) -> bool:
    return _is_number(word) and len(word) <= 10 and int(word) <= LARGEST_ID
