"""The files beside images.toml that builds elsewhere need: a fleet's workers, or a second build."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .project.images import BundleDeclaration
    from .project.plan import Plan


def named_files(plan: Plan, bundles: Iterable[BundleDeclaration]) -> dict[str, bytes]:
    """The files beside images.toml that bundles are made from, or a cache's records verified by.

    Raises: DeclarationError.
    """
    from .config_json import watched_files

    verified = plan.images.cache.get("verify_key") or ()
    names = [verified] if isinstance(verified, str) else list(verified)
    for bundle in bundles:
        names += watched_files(bundle)
    found: dict[str, bytes] = {}
    for name in names:
        if Path(name).is_absolute():
            continue
        try:
            found[name] = (plan.workspace.project / name).read_bytes()
        except FileNotFoundError:
            # An optional one, or the build says that it is missing.
            continue
        except OSError as cause:
            raise DeclarationError(f"cannot be read: {cause.strerror}", subject=name) from cause
    return found


def project_in(place: Path, names: Iterable[str]) -> Path:
    """Make a project's folder in ``place``, so deep that what it names above itself lies there too.

    Such files are then written nowhere else, and two builds do not meet at them.
    """
    ups = [os.path.normpath(name).split(os.sep).count(os.pardir) for name in names]
    folder = place.joinpath(*("project",) * max(ups, default=0))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
