"""A state directory to unpack in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.layers import Images


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "state")
