"""The annotations of config.json: from the image, its labels, its health check, the declaration.

Spec: image-spec 1.1 conversion.md, "Annotation Fields".
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from . import annotation
from .canonical_json import canonical
from .config_draft import IMAGE, Draft
from .runtime_inputs import Inputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNSAFE_LABELS = (
    "run.oci.",
    "org.criu.",
    "org.systemd.property.",
    "dev.gvisor.",
    "io.katacontainers.",
    annotation.OWN,
)
"""What is taken as an order, down to replacing the filter of system calls: an image may not."""


def add_annotations(
    draft: Draft, inputs: Inputs, image_config: Mapping[str, Any], notes: list[str]
) -> None:
    """Implicit ones, under the image's Labels, under the declaration's own."""
    found: dict[str, tuple[str, str]] = {}
    image = inputs.image
    implicit = {
        "os": image_config.get("os"),
        "architecture": image_config.get("architecture"),
        "variant": image_config.get("variant"),
        "os.version": image_config.get("os.version"),
        "os.features": ",".join(image_config.get("os.features") or ()),
        "author": image_config.get("author"),
        "created": image_config.get("created"),
        "stopSignal": image.get("StopSignal"),
        "exposedPorts": ",".join(sorted(image.get("ExposedPorts") or ())),
    }
    for name, value in implicit.items():
        if value:
            found[annotation.IMAGE + name] = (str(value), IMAGE)
    for name, value in (image.get("Labels") or {}).items():
        if name.startswith(UNSAFE_LABELS):
            notes.append(
                f"the image's label {json.dumps(name)} is an order to its runtime and is left out; "
                "set it under annotations to have it"
            )
        else:
            found[name] = (str(value), IMAGE)
    if "stop_signal" in inputs.overrides:
        origin = inputs.origin("stop_signal")
        found[annotation.STOP_SIGNAL] = (inputs.overrides["stop_signal"], origin)
    check = _find_healthcheck(inputs, notes)
    if check is not None:
        found[annotation.HEALTHCHECK] = check
    for name, value in inputs.overrides.get("annotations", {}).items():
        found[name] = (value, inputs.origin("annotations", name))
    for name, (value, origin) in sorted(found.items()):
        draft.put(("annotations", name), value, origin)


def _find_healthcheck(inputs: Inputs, notes: list[str]) -> tuple[str, str] | None:
    """The annotation's text, and where its test is from."""
    declared = inputs.overrides.get("healthcheck", {})
    image = inputs.image.get("Healthcheck") or {}
    if not declared and not image:
        return None
    from .healthcheck import DEFAULT_SHELL, make_healthcheck

    try:
        found = make_healthcheck(image, declared, inputs.image.get("Shell") or DEFAULT_SHELL)
    except ValueError as error:
        notes.append(f"the image's Healthcheck is left out: {error}")
        return None
    if found is None:
        if declared and "test" not in declared:
            notes.append("healthcheck has no test, and neither has the image: nothing is asked")
        return None
    origin = inputs.origin("healthcheck", "test") if "test" in declared else IMAGE
    return canonical(found).decode(), origin
