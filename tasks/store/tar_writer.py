"""Tar headers whose bytes depend on nothing but the entry: not on the host, nor on the Python.

Spec: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; extended attributes
as ``SCHILY.xattr.``, which GNU tar, bsdtar, star and Go's archive/tar all read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..oci import entry as kinds

if TYPE_CHECKING:
    from ..oci.entry import Entry

BLOCK = 512
END = b"\0" * (2 * BLOCK)
NANOSECONDS = 1_000_000_000
TYPE_FLAG = {
    kinds.FILE: b"0",
    kinds.SYMLINK: b"2",
    kinds.CHARACTER: b"3",
    kinds.BLOCK: b"4",
    kinds.DIRECTORY: b"5",
    kinds.FIFO: b"6",
}
LINK_FLAG, PAX_FLAG = b"1", b"x"
NAME_LENGTH = LINK_LENGTH = 100
OCTAL_7, OCTAL_11 = 0o7777777, 0o77777777777


def padding(size: int) -> bytes:
    """The zeros that fill ``size`` bytes of content up to a whole block."""
    return b"\0" * (-size % BLOCK)


def member_header(prefix: bytes, entry: Entry) -> bytes:
    """Everything that stands before an entry's content; ``prefix`` ends in a slash."""
    name = prefix + entry.path
    if entry.type == kinds.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    flag, link, size = TYPE_FLAG[entry.type], entry.target, entry.size
    if entry.hard_link:
        flag, link, size = LINK_FLAG, prefix + entry.hard_link, 0
    return header(
        name,
        flag=flag,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        size=size if entry.type == kinds.FILE else 0,
        link=link,
        device=entry.device or (0, 0),
        xattrs=() if entry.hard_link else entry.xattrs,
    )


def file_header(name: bytes, *, size: int, mtime: int) -> bytes:
    """The header of a plain file of ours, owned by 0:0; ``mtime`` in nanoseconds."""
    return header(name, flag=b"0", mode=0o644, uid=0, gid=0, mtime=mtime, size=size)


def header(
    name: bytes,
    *,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    mtime: int,
    size: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A ustar header, behind a pax header for whatever it cannot hold."""
    seconds, fraction = divmod(mtime, NANOSECONDS)
    records = [(b"SCHILY.xattr." + key, value) for key, value in xattrs]
    if len(name) > NAME_LENGTH:
        records.append((b"path", name))
    if len(link) > LINK_LENGTH:
        records.append((b"linkpath", link))
    if fraction or not 0 <= seconds <= OCTAL_11:
        records.append((b"mtime", decimal_time(mtime)))
    for key, value, limit in (
        (b"uid", uid, OCTAL_7),
        (b"gid", gid, OCTAL_7),
        (b"size", size, OCTAL_11),
        (b"SCHILY.devmajor", device[0], OCTAL_7),
        (b"SCHILY.devminor", device[1], OCTAL_7),
    ):
        if value > limit:
            records.append((key, b"%d" % value))
    plain = ustar(
        name,
        flag=flag,
        mode=mode,
        owner=(uid, gid),
        seconds=seconds if seconds > 0 else 0,
        size=size,
        link=link,
        device=device,
    )
    return pax(name, records) + plain if records else plain


def ustar(
    name: bytes,
    *,
    flag: bytes,
    mode: int,
    size: int,
    owner: tuple[int, int] = (0, 0),
    seconds: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """One 512-byte header; what does not fit is cut or zero, and stands in the pax header."""
    fields = b"".join(
        (
            name[:NAME_LENGTH].ljust(NAME_LENGTH, b"\0"),
            octal(mode, 8),
            octal(owner[0], 8),
            octal(owner[1], 8),
            octal(size, 12),
            octal(seconds, 12),
            b" " * 8,
            flag,
            link[:LINK_LENGTH].ljust(LINK_LENGTH, b"\0"),
            b"ustar\x0000",
            b"\0" * 64,
            octal(device[0], 8),
            octal(device[1], 8),
        )
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def octal(value: int, width: int) -> bytes:
    digits = b"%0*o" % (width - 1, value)
    return (digits if len(digits) < width else b"0" * (width - 1)) + b"\0"


def decimal_time(nanoseconds: int) -> bytes:
    """Seconds with as many decimals as it takes, also before 1970."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    seconds, fraction = divmod(rest, NANOSECONDS)
    text = f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".")
    return text.encode()


def pax(name: bytes, records: list[tuple[bytes, bytes]]) -> bytes:
    """An extended header of ``records``, in the order of their keys."""
    names = [value for key, value in records if key in (b"path", b"linkpath")]
    if not all(is_utf8(value) for value in names):
        records = [(b"hdrcharset", b"BINARY"), *records]
    body = b"".join(record(key, value) for key, value in sorted(records, key=charset_first))
    title = b"PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2]
    head = ustar(title, flag=PAX_FLAG, mode=0o644, size=len(body))
    return head + body + padding(len(body))


def charset_first(item: tuple[bytes, bytes]) -> tuple[bool, bytes]:
    """hdrcharset speaks of the records after it, so it stands first."""
    return (item[0] != b"hdrcharset", item[0])


def record(key: bytes, value: bytes) -> bytes:
    """``LENGTH key=value\\n``, where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
