"""An image with a HEALTHCHECK made by buildah, and a bundle that has its own, as users run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.command import doit_oci, expect
from ..support.docker_registry import need

CHECK = """
[images.web]
image = "docker-archive:web.tar"
[bundles.slow]
image = "web"
command = ["sh", "-c", "sleep 0.3; touch /ready; sleep 1000"]
[bundles.broken]
image = "web"
healthcheck = { test = "echo out of order; exit 3", interval = "50ms", retries = 2 }
[bundles.unasked]
image = "web"
healthcheck = { disable = true }
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    (folder / "bin").mkdir()
    shutil.copy(need("busybox"), folder / "bin/busybox")
    for applet in ("sh", "sleep", "test", "touch", "echo"):
        (folder / "bin" / applet).symlink_to("busybox")

    def buildah(*words: str) -> str:
        command = [need("buildah"), "--storage-driver", "vfs", "--root", str(folder / "root")]
        command += ["--runroot", str(folder / "runroot"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    name = buildah("from", "scratch")
    buildah("add", name, str(folder / "bin"), "/bin")
    asked = ["--healthcheck", "CMD-SHELL test -e /ready", "--healthcheck-interval", "100ms"]
    asked += ["--healthcheck-retries", "100"]
    buildah("config", *asked, "--env", "PATH=/bin", "--cmd", '["sleep", "1000"]', name)
    buildah("commit", "--format", "docker", name, f"docker-archive:{folder}/web.tar")
    return folder / "web.tar"


@pytest.fixture
def project(archive: Path, tmp_path: Path) -> Path:
    (tmp_path / "web.tar").symlink_to(archive)
    (tmp_path / "images.toml").write_text(CHECK)
    return tmp_path


def test_an_images_health_check(project: Path) -> None:
    expect(doit_oci(project, "run:slow", "--wait"))
    try:
        (row,) = json.loads(expect(doit_oci(project, "ps", "slow", "--json")))
        assert row["health"]["status"] == "healthy"
        assert "running (healthy)" in expect(doit_oci(project, "ps"))
        expect(doit_oci(project, "verify", "slow"))
    finally:
        expect(doit_oci(project, "delete", "slow", "--force"))


def test_a_bundles_own_that_fails(project: Path) -> None:
    result = doit_oci(project, "run:broken", "--wait")
    try:
        expect(result, 1)
        said = result.stderr.decode()
        assert "is unhealthy: the last probe ended with 3: out of order" in said
        assert "running (unhealthy)" in expect(doit_oci(project, "ps", "broken"))
    finally:
        expect(doit_oci(project, "delete", "broken", "--force"))


def test_none_at_all(project: Path) -> None:
    expect(doit_oci(project, "run:unasked", "--wait"))
    try:
        (row,) = json.loads(expect(doit_oci(project, "ps", "unasked", "--json")))
        assert (row["status"], row["health"]) == ("running", None)
    finally:
        expect(doit_oci(project, "delete", "unasked", "--force"))


def test_the_annotation_goes_with_an_export(project: Path) -> None:
    """And it says where it is from."""
    expect(doit_oci(project, "bundle:slow"))
    expect(doit_oci(project, "export", "slow", "out"))
    config = json.loads((project / "out/config.json").read_bytes())
    found = json.loads(config["annotations"]["doit-oci.healthcheck"])
    assert found["Test"] == ["CMD", "/bin/sh", "-c", "test -e /ready"]
    assert (found["Interval"], found["Retries"]) == (100_000_000, 100)
    assert "doit-oci.healthcheck" in expect(doit_oci(project, "why", "config:broken"))
