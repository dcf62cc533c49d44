"""Access control lists of PAX headers, as the extended attributes that Linux keeps them in.

What cannot become one (names without ids, lists of other systems) stays under its key in the
archive: no file system has an attribute of that name, so it ends in the list of what is missing.

Spec: star(5) and libarchive, ``SCHILY.acl``; linux/posix_acl_xattr.h, version 2.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

PREFIX = b"SCHILY.acl."
ACCESS, DEFAULT = PREFIX + b"access", PREFIX + b"default"
ATTRIBUTES = {ACCESS: b"system.posix_acl_access", DEFAULT: b"system.posix_acl_default"}
VERSION = struct.pack("<I", 2)
ENTRY = struct.Struct("<HHI")
NO_ID = 0xFFFFFFFF
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
TAGS = {
    (b"user", False): OWNER,
    (b"user", True): USER,
    (b"group", False): GROUP,
    (b"group", True): NAMED_GROUP,
    (b"mask", False): MASK,
    (b"other", False): OTHER,
}
PERMISSIONS = {b"r": 4, b"w": 2, b"x": 1, b"-": 0}

Acl = dict[tuple[int, int], int]
"""Permissions by tag and id."""


def attributes_of(
    records: Mapping[bytes, bytes], *, mode: int, is_directory: bool
) -> tuple[dict[bytes, bytes], int]:
    """Name and value of the attributes that the lists in ``records`` come to, and the mode.

    A list decides over the mode, as in what GNU tar and bsdtar unpack: the group's bits of a file
    that has one are its mask, whatever the archiver wrote.
    """
    found = {}
    for key, value in records.items():
        if not key.startswith(PREFIX) or not value:
            continue
        try:
            if key not in ATTRIBUTES or (key == DEFAULT and not is_directory):
                raise ValueError
            acl = parse(value)
        except ValueError:
            found[key] = value
            continue
        if key == ACCESS:
            mode = mode & ~0o777 | bits_of(acl)
            if len(acl) == len((OWNER, GROUP, OTHER)):
                continue
        found[ATTRIBUTES[key]] = pack(acl)
    return found, mode


def parse(text: bytes) -> Acl:
    """Read ``user::rwx,user:name:r-x:1000,…``; a name may be a number. Raises: ValueError."""
    acl: Acl = {}
    for part in text.replace(b"\n", b",").split(b","):
        if not (part := part.strip()):
            continue
        kind, _, rest = part.partition(b":")
        if kind in (b"mask", b"other") and rest.count(b":") == 0:
            rest = b":" + rest
        name, permissions, *ids = rest.split(b":")
        number = _number(ids[0] if ids else name) if name else NO_ID
        place = TAGS.get((kind, bool(name)), 0), number
        if not place[0] or place in acl or not permissions:
            raise ValueError
        acl[place] = sum({PERMISSIONS.get(bytes((byte,)), 8) for byte in permissions})
        if acl[place] > 7:
            raise ValueError
    tags = {tag for tag, _ in acl}
    if not {OWNER, GROUP, OTHER} <= tags or (tags & {USER, NAMED_GROUP} and MASK not in tags):
        raise ValueError
    return acl


def _number(text: bytes) -> int:
    """An id. Raises: ValueError, for the name of somebody who may be anyone here."""
    if not text.isdigit() or int(text) >= NO_ID:
        raise ValueError
    return int(text)


def bits_of(acl: Acl) -> int:
    """The nine bits of the mode that a list comes to."""
    group = acl.get((MASK, NO_ID), acl[GROUP, NO_ID])
    return acl[OWNER, NO_ID] << 6 | group << 3 | acl[OTHER, NO_ID]


def pack(acl: Acl) -> bytes:
    """The value of the attribute."""
    return VERSION + b"".join(ENTRY.pack(tag, acl[tag, of], of) for tag, of in sorted(acl))
