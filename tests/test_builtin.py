"""builtin:hello-world: the same bytes everywhere, and programs that run on both architectures."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from tasks.builtin import TEXT, builtin_image
from tasks.errors import DeclarationError
from tasks.oci.digest import digest_bytes

GOLDEN_INDEX = "sha256:807ae29af7b1e2fe96c48f0078a01aea25f199980bb49896a27939a106baaaa2"


def unpacked(architecture: str, folder: Path) -> Path:
    """The program of one architecture, taken out of its layer."""
    index, blobs = builtin_image("hello-world")
    found = next(
        each
        for each in json.loads(index)["manifests"]
        if each["platform"]["architecture"] == architecture
    )
    manifest = json.loads(blobs[found["digest"]])
    layer = zlib.decompress(blobs[manifest["layers"][0]["digest"]], 31)
    config = json.loads(blobs[manifest["config"]["digest"]])
    assert config["rootfs"]["diff_ids"] == [str(digest_bytes(layer))]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        member = tar.getmember("hello")
        assert (member.mode, member.uid, member.gid, member.mtime) == (0o755, 0, 0, 0)
        content = tar.extractfile(member)
        assert content is not None
        program = folder / f"hello-{architecture}"
        program.write_bytes(content.read())
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("architecture", "emulator"),
    [("amd64", "qemu-x86_64-static"), ("arm64", "qemu-aarch64-static")],
)
def test_program_prints_its_text_and_fails_when_it_cannot(
    architecture: str, emulator: str, tmp_path: Path
) -> None:
    program = unpacked(architecture, tmp_path)
    native = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine)
    command = [str(program)] if native == architecture else [emulator, str(program)]
    if len(command) == 2:
        assert shutil.which(emulator), f"{emulator} is missing: apt-get install qemu-user-static"
    assert subprocess.run(command, capture_output=True, check=True).stdout == TEXT
    full = subprocess.run(["sh", "-c", '"$@" >/dev/full', "sh", *command], check=False)
    assert full.returncode == 1


def test_bytes_are_the_promised_ones() -> None:
    index, blobs = builtin_image("hello-world")
    assert str(digest_bytes(index)) == GOLDEN_INDEX
    assert all(str(digest_bytes(content)) == digest for digest, content in blobs.items())


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(DeclarationError, match="hello-world"):
        builtin_image("hello-wrld")
