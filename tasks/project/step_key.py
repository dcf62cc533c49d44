"""StepKey: the identity of a step's output, so that equal inputs are never worked on twice.

``sha256(canonical JSON {step, epoch, inputs, params, platform})``: inputs are content digests,
``epoch`` is bumped by hand when a step's output would differ for equal inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..oci.canonical_json import canonical
from ..oci.digest import digest_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NewType

    StepKey = NewType("StepKey", str)
else:
    StepKey = str

PARTS = frozenset({"step", "epoch", "inputs", "params", "platform"})


def step_key(parts: Mapping[str, Any]) -> StepKey:
    """The key of a step from its five parts, as 64 hexadecimal characters."""
    assert parts.keys() == PARTS, f"a step key has {sorted(PARTS)}, not {sorted(parts)}"
    return StepKey(digest_bytes(canonical(dict(parts))).encoded)
