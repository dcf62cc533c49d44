"""Several processes that pull into one store, and one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from tests.support.command import CHECKOUT
from tests.support.fake_registry import FakeRegistry, Handler, add_big
from tests.support.images import layer, make_image
from tests.support.pulling import Puller

CHILD = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.support.pulling import Puller
puller = Puller(Path({state!r}), {{}})
puller.pull({name!r})
"""


def child(puller: Puller, name: str) -> subprocess.Popen[bytes]:
    code = CHILD.format(root=str(CHECKOUT), state=str(puller.state), name=name)
    return subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT)


def test_two_processes_fetch_each_blob_once(fake_registry: FakeRegistry, puller: Puller) -> None:
    image, name, content = add_big(fake_registry)
    both = threading.Event()

    def slow(handler: Handler) -> bool:
        if "/blobs/" in handler.path and handler.path.endswith(image.layer_digests()[0]):
            both.wait(0.4)
            handler.answer_blob(content)
            return True
        return False

    fake_registry.behaviours.append(slow)
    children = [child(puller, name) for _ in range(3)]
    assert [process.wait() for process in children] == [0, 0, 0]
    assert len([p for p in fake_registry.paths("blobs") if image.layer_digests()[0] in p]) == 1
    assert puller.stored() == {image.digest, *image.blobs}


def test_processes_at_images_that_share_blobs_do_not_wait_for_each_other_in_a_circle(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    layers = [layer(size=1000 * n, seed=n) for n in (1, 2, 3)]
    images = [
        fake_registry.add(make_image(*(layers[at] for at in order)), tag)
        for tag, order in {"a": (0, 1), "b": (1, 2), "c": (2, 0)}.items()
    ]
    names = [f"{fake_registry.host}/a:{tag}" for tag in "abc"]
    children = [child(puller, name) for name in names * 2]
    assert [process.wait(60) for process in children] == [0] * 6
    everything = {digest for image in images for digest in (image.digest, *image.blobs)}
    assert puller.stored() == everything
    blobs = fake_registry.paths("blobs")
    assert len([each for each in blobs if any(d in each for d in images[0].layer_digests())]) == 2


def test_pull_that_is_killed_is_finished_by_the_next(
    fake_registry: FakeRegistry, puller: Puller
) -> None:
    image, name, content = add_big(fake_registry)
    half = threading.Event()
    killed = threading.Event()

    def stop_half_way(handler: Handler) -> None:
        handler.answer(200, content[:600_000], length=len(content))
        half.set()
        killed.wait(20)

    locked_digest = image.layer_digests()[0]

    def act(handler: Handler) -> bool:
        if handler.path.endswith(locked_digest) and not killed.is_set():
            stop_half_way(handler)
            return True
        return False

    fake_registry.behaviours.append(act)
    process = child(puller, name)
    assert half.wait(20)
    partial = puller.state / "tmp" / f"{locked_digest.replace(':', '-')}.partial"
    while not (partial.exists() and partial.stat().st_size > 300_000):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed.set()
    assert locked_digest not in puller.stored()
    fake_registry.sent = 0
    puller.pull(name)
    assert puller.stored() == {image.digest, *image.blobs}
    assert fake_registry.sent < len(content) - 300_000 + 10_000
