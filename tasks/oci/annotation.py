"""Annotations of config.json that a run acts on.

Spec: image-spec 1.1 conversion.md, "Annotation Fields".
"""

from __future__ import annotations

IMAGE = "org.opencontainers.image."
"""In front of what an image's own fields become."""
STOP_SIGNAL = IMAGE + "stopSignal"
OWN = "doit-oci."
"""In front of what only this project reads."""
HEALTHCHECK = OWN + "healthcheck"
