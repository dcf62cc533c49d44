"""A container that copies its standard input to its standard output, ready to run by hand too."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.layout import busybox_layer, write_layout

SIZES = {"stdio": 100_000_000, "stdio-1gb": 1_000_000_000}


def make_copier(folder: Path, ours: str) -> Path:
    """Build the bundle ``cat`` in a project folder; returns the bundle's directory."""
    layout = write_layout(folder / "image", busybox_layer(), command=("/bin/cat",))
    text = f'[images.cat]\nimage = "oci:{layout}:latest"\n'
    (folder / "images.toml").write_text(text)
    for _ in range(2):
        subprocess.run(
            [ours, "run:cat"],
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    return folder / "build/bundles/cat"
