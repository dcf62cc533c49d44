"""The filter of system calls: against the kernel's lists and against containers-common's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.oci import seccomp_table as table
from tasks.oci.capability import CAPABILITIES
from tasks.oci.seccomp import default_profile
from tasks.project.schema import violations_of

INCLUDES = Path("/usr/include")
PEER = Path("/usr/share/containers/seccomp.json")

OBSOLETE_NAMES = """
_sysctl afs_syscall break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof
profil putpmsg security stty timerfd tuxcall ulimit vserver
"""
OBSOLETE = set(OBSOLETE_NAMES.split())
"""Numbers that the kernel keeps and does nothing with."""

TRIPLETS = [
    "x86_64",
    "i386",
    "arm",
    "aarch64",
    "mipsel",
    "mips64el",
    "powerpc64le",
    "riscv64",
    "s390x",
]
"""The architectures that profiles are made for, as Debian names the folders of their headers."""

MARKS = {"arch_specific_syscall", "syscalls"}
"""Numbers in the headers that are no calls."""

NEWER_THAN_PEER_NAMES = """
cachestat fchmodat2 futex_requeue futex_wait futex_waitv futex_wake getxattrat listmount llseek
listxattrat lsm_get_self_attr lsm_list_modules lsm_set_self_attr map_shadow_stack mseal
removexattrat riscv_flush_icache riscv_hwprobe set_mempolicy_home_node setxattrat statmount
uretprobe
"""
NEWER_THAN_PEER = set(NEWER_THAN_PEER_NAMES.split())
"""Calls of newer kernels that a profile of 2022 cannot name; none gives new rights."""


def classified() -> list[str]:
    conditional = [name for names in table.ALLOWED_WITH.values() for name in names]
    native = {name for names in table.ALLOWED_ON.values() for name in names}
    return [*table.ALLOWED, *table.REFUSED, *conditional, *native, "personality", "socket"]


def test_every_call_is_in_one_list() -> None:
    names = classified()
    assert sorted(set(names)) == sorted(names)


def test_every_call_of_the_kernel_is_classified() -> None:
    """Of all architectures of ours whose headers are here: Debian 13 has them all."""
    headers = [*INCLUDES.glob("asm-generic/unistd.h")]
    for triplet in TRIPLETS:
        headers += INCLUDES.glob(f"{triplet}-linux-gnu*/asm/unistd*.h")
    assert headers, "no headers of the kernel are here: install linux-libc-dev"
    kernel: set[str] = set()
    for path in headers:
        kernel |= set(re.findall(r"#define __NR_([a-z_]\w+)\s+\(?\d", path.read_text()))
    assert len(kernel) > 300
    assert kernel - set(classified()) - OBSOLETE - MARKS == set()


def peer_rules() -> list[dict[str, Any]]:
    assert PEER.exists(), f"{PEER} is not there: install golang-github-containers-common"
    rules: list[dict[str, Any]] = json.loads(PEER.read_bytes())["syscalls"]
    return rules


def names_of(rules: list[dict[str, Any]], held: set[str], architecture: str) -> set[str]:
    """What a profile of containers-common allows without conditions on arguments."""
    found: set[str] = set()
    for rule in rules:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if rule["action"] != "SCMP_ACT_ALLOW" or rule.get("args"):
            continue
        if includes.get("arches") and architecture not in includes["arches"]:
            continue
        if set(includes.get("caps", ())) <= held and not set(excludes.get("caps", ())) & held:
            found |= set(rule["names"])
    return found


@pytest.mark.parametrize(
    "held", [(), ("CAP_SYS_ADMIN",), CAPABILITIES], ids=["none", "admin", "all"]
)
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_nothing_is_allowed_that_the_peer_refuses(held: tuple[str, ...], architecture: str) -> None:
    ours = default_profile(architecture, held)
    assert ours
    allowed = set(ours["syscalls"][0]["names"])
    theirs = names_of(peer_rules(), set(held), architecture)
    assert allowed - theirs - NEWER_THAN_PEER == set()


def test_what_the_peer_allows_and_we_refuse() -> None:
    ours = default_profile("amd64", ("CAP_AUDIT_WRITE",))
    assert ours
    allowed = {
        name
        for rule in ours["syscalls"]
        for name in rule["names"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
    }
    theirs = names_of(peer_rules(), {"CAP_AUDIT_WRITE"}, "amd64")
    gone = {"readdir", "sigaction", "sigpending", "sigsuspend"}  # from theirs too, in 2024
    assert (theirs & set(classified())) - allowed - gone == {"setns"}
    assert "io_uring_setup" in ours["syscalls"][1]["names"]


@pytest.mark.parametrize("architecture", table.ARCHITECTURES)
def test_a_profile_fits_the_specification(architecture: str) -> None:
    profile = default_profile(architecture, ())
    config = {"ociVersion": "1.0.2", "linux": {"seccomp": profile}}
    assert violations_of("runtime-spec/config", config) == []
    assert profile
    assert profile["defaultErrnoRet"] == 38


def test_capabilities_open_their_calls() -> None:
    bare = default_profile("amd64", ())
    admin = default_profile("amd64", ("CAP_SYS_CHROOT",))
    assert bare
    assert admin
    assert "chroot" in bare["syscalls"][1]["names"]
    assert "chroot" in admin["syscalls"][0]["names"]
    assert "chroot" not in admin["syscalls"][1]["names"]


def test_an_unknown_architecture_has_no_filter() -> None:
    assert default_profile("riscv32", ()) is None
