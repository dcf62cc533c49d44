"""The rows of docs/benchmarks.md: what is compared, and with which peer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .changed import change_top
from .images import Lab
from .many import make_project
from .several import push_several
from .stdio import SIZES, make_copier
from .turns import Command, Figures

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("DOIT_OCI_BENCH_VENV") or Path(sys.executable).parent.parent)
"""The environment that is measured; the one of the tests holds more than users have."""
OURS = str(VENV / "bin" / "doit-oci")
DOIT = str(VENV / "bin" / "doit")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Commands in turns; every ratio is to ``base``. ``says`` draws a conclusion from figures."""

    what: str
    base: str
    rounds: int
    commands: Mapping[str, Command]
    says: Callable[[Mapping[str, Figures]], str] | None = None


def project(lab: Lab, name: str, text: str) -> Path:
    """A project folder of the benchmark's own."""
    folder = lab.scratch / f"project-{name}"
    folder.mkdir(parents=True)
    (folder / "images.toml").write_text(text)
    (folder / "pyproject.toml").write_bytes((CHECKOUT / "pyproject.toml").read_bytes())
    return folder


def empty_list(lab: Lab) -> Command:
    """What stock doit costs by itself."""
    folder = lab.scratch / "empty"
    folder.mkdir(exist_ok=True)
    (folder / "dodo.py").write_text('def task_x():\n    return {"actions": []}\n')
    return Command(shell=f"cd {folder} && {DOIT} list")


def hello(lab: Lab) -> Path:
    """A project that is ready to run hello-world, so that only the run is left."""
    text = '[images.hello-world]\nimage = "builtin:hello-world"\n'
    folder = project(lab, "hello", text)
    for _ in range(2):
        subprocess.run([OURS, "run:hello-world"], cwd=folder, check=True, capture_output=True)
    return folder


def warm(lab: Lab) -> Row:
    """The warm start beside podman, a bare runtime and an empty doit."""
    folder = hello(lab)
    store = f"--root {lab.scratch}/podman --runroot {lab.scratch}/podman-run"
    podman = f"podman {store} --runtime runc --cgroup-manager cgroupfs"
    layout = folder / "build/layouts/hello-world"
    archive = lab.scratch / "hello.tar"
    copy = f"skopeo copy -q oci:{layout} oci-archive:{archive}:localhost/hello:latest"
    subprocess.run(
        f"{copy} && {podman} load -q -i {archive}", shell=True, check=True, capture_output=True
    )
    # Podman raises limits as root, which a machine without CAP_SYS_RESOURCE refuses.
    flags = "--rm --pull never --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
    bundle = folder / "build/bundles/hello-world"
    return Row(
        what="run:hello-world with nothing to rebuild",
        base="podman run",
        rounds=15,
        commands={
            "podman run": Command(shell=f"{podman} run {flags} localhost/hello"),
            "doit-oci run": Command(shell=f"cd {folder} && {OURS} run:hello-world"),
            "doit run": Command(shell=f"cd {folder} && {DOIT} run:hello-world"),
            "./doitw run": Command(
                shell=f"{CHECKOUT}/doitw run:hello-world", env={"DOIT_OCI_VENV": str(VENV)}
            ),
            "runc run": Command(shell=f"runc run --bundle {bundle} bench-$$"),
            "empty doit list": empty_list(lab),
        },
    )


def _stdio(lab: Lab, name: str) -> Row:
    """The smaller one holds the start of every process as well; the larger one hardly."""
    folder = project(lab, name, "")
    bundle = make_copier(folder, OURS)
    source, sink = f"head -c {SIZES[name]} /dev/zero", "cat > /dev/null"
    return Row(
        what=f"{SIZES[name]:,} bytes through standard input and out of standard output",
        base="runc run",
        rounds=9,
        commands={
            "runc run": Command(shell=f"{source} | runc run --bundle {bundle} bench-$$ | {sink}"),
            "doit-oci run": Command(shell=f"cd {folder} && {source} | {OURS} run:cat | {sink}"),
            "doit run": Command(shell=f"cd {folder} && {source} | {DOIT} run:cat | {sink}"),
        },
    )


def first(lab: Lab) -> Row:
    """The first run on a ready environment."""
    text = '[images.hello-world]\nimage = "builtin:hello-world"\n'
    folder = project(lab, "first", text)
    return Row(
        what="the first run:hello-world on a ready environment (target: under 1 s)",
        base="first run",
        rounds=7,
        commands={
            "first run": Command(shell=f"cd {folder} && {OURS} run:hello-world --dir {{dst}}")
        },
    )


def _pull(lab: Lab, size: str, rounds: int) -> Row:
    text = (
        f'[[registry]]\nprefix = "{lab.registry}"\ninsecure = true\n'
        f'[images.{size}]\nimage = "{lab.registry}/lab/{size}:1"\n'
    )
    folder = project(lab, f"pull-{size}", text)
    subprocess.run([OURS, "lock"], cwd=folder, check=True, capture_output=True)
    shutil.rmtree(folder / "build")
    source = f"docker://{lab.registry}/lab/{size}:1"
    return Row(
        what=f"the {size} image from a loopback docker-registry into a layout",
        base="skopeo copy",
        rounds=rounds,
        commands={
            "skopeo copy": Command(
                shell=f"skopeo copy -q --src-tls-verify=false {source} oci:{{dst}}:1"
            ),
            "doit-oci layout": Command(shell=f"cd {folder} && {OURS} layout:{size} --dir {{dst}}"),
        },
    )


def _unpack(lab: Lab, size: str, rounds: int) -> Row:
    layout = lab.image(size)
    folder = project(lab, f"unpack-{size}", f'[images.{size}]\nimage = "oci:{layout}:1"\n')
    ready = lab.scratch / f"ready-{size}"
    command = [OURS, f"layout:{size}", "--dir", str(ready)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def prepare(destination: Path) -> None:
        shutil.copytree(ready, destination, copy_function=os.link)

    layers = " ".join(str(path) for path in _layers(layout))
    return Row(
        what=f"the {size} image's layers to a root file system",
        base="umoci unpack",
        rounds=rounds,
        commands={
            "umoci unpack": Command(shell=f"umoci unpack --image {layout}:1 {{dst}}"),
            "oci-image-tool unpack": Command(
                shell=f"mkdir {{dst}} && oci-image-tool unpack --ref name=1 {layout} {{dst}}"
            ),
            "igzip|tar": Command(
                shell=f"mkdir {{dst}} && for layer in {layers}; do "
                "igzip -dc $layer | tar -x -p --numeric-owner -C {dst}; done"
            ),
            "doit-oci rootfs": Command(
                shell=f"cd {folder} && {OURS} rootfs:{size} --dir {{dst}}", prepare=prepare
            ),
        },
    )


def _layers(layout: Path) -> list[Path]:
    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    return [blob(layer["digest"]) for layer in manifest["layers"]]


def again(lab: Lab) -> Row:
    """What sharing layers saves: a second bundle of the same image, and a changed top layer."""
    layout = lab.image("large")
    changed = change_top(layout, lab.scratch / "changed")
    second = '[bundles.second]\nimage = "large"\n'
    folder = project(lab, "again", f'[images.large]\nimage = "oci:{layout}:1"\n{second}')
    after = project(lab, "after", f'[images.large]\nimage = "oci:{changed}:1"\n')
    fresh = lab.scratch / "ready-fresh"
    words = [OURS, "layout:large", "--dir", str(fresh)]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    subprocess.run([OURS, "lock"], cwd=after, check=True, capture_output=True)

    def layout_only(destination: Path) -> None:
        shutil.copytree(fresh, destination, copy_function=os.link)

    def unpacked(destination: Path) -> None:
        """Built anew for every run: layers that were copied are not believed."""
        words = [OURS, "rootfs:large", "--dir", str(destination)]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    def build(place: Path, bundle: str, prepare: Callable[[Path], None]) -> Command:
        shell = f"cd {place} && {OURS} rootfs:{bundle} --dir {{dst}}"
        return Command(shell=shell, prepare=prepare)

    return Row(
        what="the large image again: a second bundle, and a changed top layer",
        base="full",
        rounds=3,
        commands={
            "full": build(folder, "large", layout_only),
            "second bundle": build(folder, "second", unpacked),
            "changed top layer": build(after, "large", unpacked),
        },
    )


def _scale(lab: Lab, count: int) -> Row:
    """Many images, every one of them built: what a start costs where nothing is to be done."""
    folder = lab.scratch / f"scale-{count}"
    make_project(folder, count, sys.executable)
    (folder / "pyproject.toml").write_bytes((CHECKOUT / "pyproject.toml").read_bytes())
    # The first of these leaves what the next ones start from.
    for words in (["bundle"], ["bundle:i1"], ["bundle:i1"]):
        subprocess.run([OURS, *words], cwd=folder, check=True, capture_output=True)
    typed = "doit-oci bundle:i1"
    ours = {
        "nothing to do": f"{OURS}",
        "nothing to do, by stock doit": f"{DOIT}",
        "one target": f"{OURS} bundle:i1",
        "one target, by stock doit": f"{DOIT} bundle:i1",
        "completion": f"{OURS} __complete '{typed}'",
        "list": f"{OURS} list",
        "lock --check": f"{OURS} lock --check",
    }
    return Row(
        what=f"{count} images declared, locked and built",
        base="empty doit list",
        rounds=5,
        commands={
            "empty doit list": empty_list(lab),
            **{name: Command(shell=f"cd {folder} && {words}") for name, words in ours.items()},
        },
    )


def several(lab: Lab) -> Row:
    """Several images at once beside the best that cores and disk allow."""
    count, cores = 4, os.cpu_count() or 1
    text = push_several(lab.image("medium"), lab.scratch / "sources", lab.registry, count)
    folder = project(lab, "several", text)
    for words in (["lock"], ["bundle"]):
        before = lab.served()
        subprocess.run([OURS, *words], cwd=folder, check=True, capture_output=True)
    serving = lab.served() - before
    built = folder / "built"
    (folder / "build").rename(built)
    together = f"-n {cores}"
    copied = "copy of the result"

    def says(found: Mapping[str, Figures]) -> str:
        by_cores = (found["one by one"].processor + serving) / cores
        best = max(by_cores, found[copied].wall)
        return (
            f"best: the larger of processor time over {cores} cores, {by_cores:.2f} s with the "
            f"registry's {serving:.2f} s, and the copy, {found[copied].wall:.2f} s; {together} takes "
            f"{found[together].wall / best:.2f} of it"
        )

    build = f"cd {folder} && {OURS} bundle --quiet --dir {{dst}}"
    return Row(
        what=f"{count} images with nothing in common from a registry to bundles",
        base="one by one",
        rounds=5,
        commands={
            "one by one": Command(shell=build),
            together: Command(shell=f"{build} {together}"),
            copied: Command(shell=f"cp -a {built} {{dst}}"),
        },
        says=says,
    )


ROWS: dict[str, Callable[[Lab], Row]] = {
    "warm": warm,
    "stdio": lambda lab: _stdio(lab, "stdio"),
    "stdio-1gb": lambda lab: _stdio(lab, "stdio-1gb"),
    "first": first,
    "pull-small": lambda lab: _pull(lab, "small", 9),
    "pull-large": lambda lab: _pull(lab, "large", 3),
    "unpack-small": lambda lab: _unpack(lab, "small", 9),
    "unpack-medium": lambda lab: _unpack(lab, "medium", 5),
    "unpack-large": lambda lab: _unpack(lab, "large", 3),
    "again": again,
    "several": several,
    "scale-1000": lambda lab: _scale(lab, 1000),
    "scale-10000": lambda lab: _scale(lab, 10000),
}
