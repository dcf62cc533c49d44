"""``user`` looked up in the image. Spec: image-spec 1.1 conversion.md, "Config.User"."""

from __future__ import annotations

import pytest

from tasks.errors import ConversionError
from tasks.oci.accounts import Account, needs_accounts, resolve_user

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
# comment:x:9:9::/:
web:x:33:34:web:/srv/web:/bin/sh
twin:x:33:99:twin:/twin:/bin/sh
short:x:1
wrong:x:one:2::/home:/bin/sh
huge:x:99999999999:2::/home:/bin/sh
1000:x:5:6:a name of digits:/five:/bin/sh
"""
GROUP = b"""\
root:x:0:
web:x:34:web
audio:x:29:web,twin
video:x:44:other,web
broken:x
"""

CASES: dict[str, tuple[str, tuple[str, ...], Account]] = {
    "nobody said": ("", (), Account(0, 0, (), "")),
    "numbers": ("7:8", (), Account(7, 8, (), "")),
    "a number without a group": ("7", (), Account(7, 0, (), "")),
    "a number that passwd knows": ("33", (), Account(33, 34, (), "/srv/web")),
    "zero": ("0", (), Account(0, 0, (), "/root")),
    "zeros": ("007:08", (), Account(7, 8, (), "")),
    "a name": ("web", (), Account(33, 34, (29, 44), "/srv/web")),
    "its primary group is not repeated": ("twin", (), Account(33, 99, (29,), "/twin")),
    "a name and a group's name": ("web:video", (), Account(33, 44, (), "/srv/web")),
    "a name and a number": ("web:5", (), Account(33, 5, (), "/srv/web")),
    "a number and a group's name": ("7:audio", (), Account(7, 29, (), "")),
    "a name and a colon": ("web:", (), Account(33, 34, (29, 44), "/srv/web")),
    "digits are a number, not a name": ("1000", (), Account(1000, 0, (), "")),
    "added groups": ("web", ("44", "root"), Account(33, 34, (29, 44, 0), "/srv/web")),
    "added groups of a number": ("7:8", ("audio", "9"), Account(7, 8, (29, 9), "")),
}


@pytest.mark.parametrize(("user", "groups", "expected"), CASES.values(), ids=CASES.keys())
def test_resolve(user: str, groups: tuple[str, ...], expected: Account) -> None:
    assert resolve_user(user, groups, PASSWD, GROUP) == expected


BAD: dict[str, tuple[str, bytes | None, str]] = {
    "an unknown user": ("nobody", PASSWD, "does not know the user 'nobody'"),
    "an unknown group": ("web:nogroup", PASSWD, "does not know the group 'nogroup'"),
    "no passwd": ("web", None, "it has no /etc/passwd"),
    "too large": ("4294967295:1", PASSWD, "no user or group number"),
    "a group too large": ("1:99999999999", PASSWD, "no user or group number"),
    "a damaged line": ("wrong", PASSWD, "does not know"),
    "negative": ("-1", PASSWD, "does not know"),
    "other digits": ("١", PASSWD, "does not know"),
}


@pytest.mark.parametrize(("user", "passwd", "message"), BAD.values(), ids=BAD.keys())
def test_refused(user: str, passwd: bytes | None, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        resolve_user(user, (), passwd, GROUP)


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert resolve_user("web", (), b"\xff\xfe:x:1:1::/:\n" + PASSWD, b"\xff\n" + GROUP).uid == 33


@pytest.mark.parametrize(
    ("user", "groups", "needed"),
    [
        ("", (), False),
        ("0:0", (), False),
        ("0", (), True),
        ("web", (), True),
        ("0:web", (), True),
        ("0:0", ("audio",), True),
        ("0:0", ("9",), False),
        ("", ("audio",), True),
    ],
)
def test_needs(user: str, groups: tuple[str, ...], needed: bool) -> None:
    assert needs_accounts(user, groups) is needed
    if not needed:
        resolve_user(user, groups, None, None)
