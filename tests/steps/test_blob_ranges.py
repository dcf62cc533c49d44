"""Whatever way a transfer breaks off and is answered then, the blob comes out right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_registry import FakeRegistry, Handler, running_fake
from tests.support.images import layer, make_image
from tests.support.pulling import QUICK, Puller

IMAGE = make_image(layer(size=30_000))
CONTENT = IMAGE.blobs[IMAGE.layer_digests()[0]]
PATIENT = QUICK.replacing(attempts=20, backoff=0.0001)

BREAKS = st.tuples(
    st.sampled_from(["as asked", "whole", "from elsewhere", "nothing", "416"]),
    st.integers(0, len(CONTENT)),
)


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with running_fake() as fake:
        fake.add(IMAGE)
        yield fake


def breaking(how: str, send: int, handler: Handler) -> None:
    """Answer in some way and break off after ``send`` bytes."""
    if how == "as asked":
        handler.answer_blob(CONTENT, send=send)
    elif how == "whole":
        handler.answer(200, CONTENT[:send], length=len(CONTENT))
        handler.drop()
    elif how == "from elsewhere" and "Range" in handler.headers:
        end = len(CONTENT) - 1
        handler.answer(206, CONTENT[send:], Content_Range=f"bytes {send}-{end}/{end + 1}")
    elif how == "416" and "Range" in handler.headers:
        handler.answer(416, Content_Range=f"bytes */{len(CONTENT)}")
    else:
        handler.drop()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(breaks=st.lists(BREAKS, max_size=8), left_over=st.integers(0, len(CONTENT)))
def test_any_sequence_of_breaks_ends_with_the_blob(
    registry: FakeRegistry, breaks: list[tuple[str, int]], left_over: int
) -> None:
    name = f"{registry.host}/a:1"
    with tempfile.TemporaryDirectory() as folder:
        puller = Puller(Path(folder), {}, limits=PATIENT)
        registry.behaviours.clear()
        locked = puller.resolve(name)
        descriptor = locked.platforms["linux/amd64"].layers[0].descriptor
        with puller.store.partial(descriptor) as partial:
            partial.write(CONTENT[:left_over])
        waiting = list(breaks)

        def behave(handler: Handler) -> bool:
            if not waiting:
                return False
            breaking(*waiting.pop(0), handler)
            return True

        registry.behaviours.append(behave)
        puller.fetch(name, locked)
        assert puller.store.path(descriptor.digest).read_bytes() == CONTENT
        assert not puller.leftovers()
