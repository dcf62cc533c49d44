"""Several images at once: fetching one while another is fetched or unpacked, each from its first
step to its last. A registry that waits for the other side proves it, whatever the time it takes."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks.store.guard import guard
from tasks.turns import Turns

from ..support.command import doit_oci, expect, start_doit_oci, start_patched
from ..support.fake_registry import FakeRegistry, Handler, running_fake
from ..support.images import make_image
from ..support.layers import item, tar
from ..support.layout import write_layout

NO_SPAWN = """
import os
def spawn(*words, **rest): raise RuntimeError("a process is started")
os.posix_spawn = spawn
"""
LARGE = 9 << 20
"""Bytes of a layer that another process unpacks where this one has threads."""

COUNT = 3
PATIENCE = 20.0


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with running_fake() as fake:
        yield fake


@pytest.fixture
def layers(registry: FakeRegistry, tmp_path: Path) -> list[str]:
    """The digest of each image's layer; the project is ready and locked."""
    text = f'[[registry]]\nprefix = "{registry.host}"\ninsecure = true\n'
    found = []
    for number in range(COUNT):
        image = registry.add(
            make_image(tar([item(f"f{number}", random.Random(number).randbytes(5000))])),
            tag=f"{number}",
        )
        found.append(max(image.blobs, key=lambda digest: len(image.blobs[digest])))
        text += f'[images.i{number}]\nimage = "{registry.host}/i:{number}"\n'
    (tmp_path / "images.toml").write_text(text)
    expect(doit_oci(tmp_path, "lock"))
    return found


def test_the_blobs_of_two_images_are_fetched_at_once(
    registry: FakeRegistry, tmp_path: Path, layers: list[str]
) -> None:
    """Each of the two is only answered once the other one has been asked for."""
    both = threading.Barrier(2)

    def meet(handler: Handler) -> None:
        digest = handler.path.rsplit("/", 1)[1]
        if digest in layers[:2]:
            both.wait(PATIENCE)
        handler.answer_blob(registry.blobs[digest])

    registry.always("blobs", meet)
    expect(doit_oci(tmp_path, "bundle", "-n", "2", "--dir", "elsewhere"))


def test_an_image_is_unpacked_while_another_one_is_fetched(
    registry: FakeRegistry, tmp_path: Path, layers: list[str]
) -> None:
    """The second image's layer comes only when the first and the third image are built."""
    bundles = tmp_path / "elsewhere" / "bundles"
    built = [bundles / name / "config.json" for name in ("i0", "i2")]

    def hold(handler: Handler) -> None:
        digest = handler.path.rsplit("/", 1)[1]
        deadline = time.monotonic() + PATIENCE
        while digest == layers[1] and not all(path.exists() for path in built):
            assert time.monotonic() < deadline, "nothing is built while a layer is awaited"
            time.sleep(0.02)
        handler.answer_blob(registry.blobs[digest])

    registry.always("blobs", hold)
    expect(doit_oci(tmp_path, "bundle", "-n", "2", "--dir", "elsewhere"))


def test_an_image_is_fetched_while_as_many_are_unpacked_as_were_asked_for(
    registry: FakeRegistry, tmp_path: Path, layers: list[str]
) -> None:
    """Two unpackings wait for us, and we for the third image to be asked for."""
    asked = threading.Event()

    def tell(handler: Handler) -> None:
        digest = handler.path.rsplit("/", 1)[1]
        if digest == layers[2]:
            asked.set()
        handler.answer_blob(registry.blobs[digest])

    registry.always("blobs", tell)
    locks = tmp_path / "elsewhere" / "locks"
    with guard(locks / "rootfs-i0"), guard(locks / "rootfs-i1"):
        building = start_doit_oci(tmp_path, "bundle", "-n", "2", "--dir", "elsewhere")
        assert asked.wait(PATIENCE), "nothing is fetched while two images are unpacked"
    _, said = building.communicate()
    assert building.returncode == 0, said


def test_what_unpacks_beside_threads_was_forked_before_there_were_any(tmp_path: Path) -> None:
    text = ""
    for name in "abc":
        content = random.Random(name).randbytes(LARGE)
        write_layout(tmp_path / name, tar([item(name, content)]), compress=False)
        text += f'[images.{name}]\nimage = "oci:{name}"\n'
    (tmp_path / "images.toml").write_text(text)
    building = start_patched(tmp_path, NO_SPAWN, "bundle", "-n", "2")
    building.communicate()
    assert building.returncode == 0
    assert (tmp_path / "build/bundles/c/rootfs/c").stat().st_size == LARGE
    expect(doit_oci(tmp_path, "verify"))


@pytest.mark.parametrize(
    ("count", "status", "said"),
    [
        ("1000000000000", 0, ""),
        ("0", 0, ""),
        ("-1", 3, "-n -1: expected a whole number from 1"),
        ("two", 3, "expected a whole number, got 'two'"),
    ],
)
def test_any_number_of_pieces_of_work_may_be_asked_for(
    count: str, status: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "images.toml").write_text('[images.a]\nimage = "builtin:hello-world"\n')
    done = doit_oci(tmp_path, "bundle", "-n", count)
    expect(done, status)
    assert said in done.stderr.decode()


@pytest.mark.parametrize("count", [2, 5])
def test_no_more_work_goes_on_than_was_asked_for(count: int) -> None:
    """One more than that has its turn when another one has had it, and none at the end."""
    turns = Turns(count, lambda request, progress: None)
    had = threading.Event()

    def work() -> None:
        with turns.turn(fetches=False):
            had.set()

    one_more = threading.Thread(target=work)
    with ExitStack() as working:
        for _ in range(count):
            working.enter_context(turns.turn(fetches=False))
        with turns.turn(fetches=True):
            one_more.start()
        assert not had.is_set()
    one_more.join()
    assert had.is_set()
    turns.end()
    with pytest.raises(KeyboardInterrupt), turns.turn(fetches=False):
        pass


@pytest.mark.parametrize("words", [("bundle",), ()])
def test_one_by_one_an_image_is_finished_before_the_next_is_begun(
    tmp_path: Path, layers: list[str], words: tuple[str, ...]
) -> None:
    result = doit_oci(tmp_path, *words)
    expect(result)
    done = re.findall(r"^\.  (?:rootfs|bundle):(i\d)", result.stderr.decode(), re.MULTILINE)
    assert done == ["i0", "i0", "i1", "i1", "i2", "i2"]
