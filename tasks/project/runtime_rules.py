"""config.json against the runtime specification: its schema, and what no schema can say.

Spec: runtime-spec 1.2 config.md, config-linux.md.
"""

from __future__ import annotations

from typing import Any

from .schema import Violation, violations_of


def runtime_violations(config: Any) -> list[Violation]:
    """All violations, by place."""
    return violations_of("runtime-spec/config", config)
