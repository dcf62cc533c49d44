"""The README names every command, and nothing that there is not."""

from __future__ import annotations

import re

from tasks.commands import COMMANDS

from ..support.command import CHECKOUT

README = (CHECKOUT / "README.md").read_text("utf-8")


def commands_named() -> set[str]:
    section = README.partition("## Commands")[2].partition("\n`--locked`")[0]
    return {found.split()[0].partition(":")[0] for found in re.findall(r"`([^`]+)`", section)}


def test_every_command_is_in_the_readme() -> None:
    assert set(COMMANDS) <= commands_named()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (CHECKOUT / target).exists(), target
