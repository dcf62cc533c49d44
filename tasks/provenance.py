"""Provenance of a bundle: what it was made of and by which steps, as an in-toto statement.

It holds no times, hosts or paths, so that equal inputs give equal bytes: it says what can be
checked by building again, not who pressed the button.

Spec: in-toto Statement v1; SLSA 1.0 Provenance v1.
"""

from __future__ import annotations

from . import __version__
from .oci.canonical_json import pretty
from .oci.digest import parse_digest
from .oci.reference import PATH_TRANSPORTS
from .store.bundle_digest import file_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from .oci.descriptor import Descriptor
    from .oci.locked_image import LockedImage, LockedPlatform

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:doit-oci:bundle:1"
BUILDER = "urn:doit-oci:builder"
WITH_TRANSPORT = ("builtin:", *(f"{transport}:" for transport in PATH_TRANSPORTS))


def provenance(
    *,
    bundle: str,
    digest: str,
    platform: str,
    image: LockedImage,
    parameters: Mapping[str, Any],
    steps: Mapping[str, Mapping[str, Any]],
    entries: Path,
    config_json: Path,
) -> bytes:
    """The statement's bytes.

    ``parameters`` are the bundle's normalised overrides, ``steps`` the key and epoch of each step
    by its name. Raises: StoreError where the bundle is not built.
    """
    locked = image.platforms[platform]
    return pretty(
        {
            "_type": STATEMENT,
            "subject": [{"name": bundle, "digest": digest_set(digest)}],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "image": image.reference,
                        "platform": platform,
                        "overrides": dict(parameters),
                    },
                    "internalParameters": {"steps": {key: dict(steps[key]) for key in steps}},
                    "resolvedDependencies": dependencies(image, locked),
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"doit-oci": __version__}},
                    "byproducts": [
                        {"name": "config.json", "digest": digest_set(file_digest(config_json))},
                        {"name": "entries.jsonl", "digest": digest_set(file_digest(entries))},
                    ],
                },
            },
        }
    )


def write_provenance(*, destination: Path, **about: Any) -> str:
    """Write the statement of :func:`provenance` and return its digest."""
    from .store.atomic import write_atomic

    # As config.json: what a power cut leaves of it is told by its digest.
    write_atomic(destination, provenance(**about), sync=False)
    return file_digest(destination)


def dependencies(image: LockedImage, locked: LockedPlatform) -> list[dict[str, Any]]:
    """Index, manifest, configuration and layers, in this order, the base layer first."""
    found: list[dict[str, Any]] = []
    if image.index is not None:
        found.append(
            {"name": "index", "uri": uri(image.reference), "digest": digest_set(str(image.index))}
        )
    found.append({**described("manifest", locked.manifest), "uri": uri(image.reference)})
    found.append(described("config", locked.config))
    for number, layer in enumerate(locked.layers):
        found.append(
            described(f"layer {number}", layer.descriptor)
            | {
                "annotations": {
                    "size": str(layer.descriptor.size),
                    "diff_id": str(layer.diff_id),
                }
            }
        )
    return found


def uri(reference: str) -> str:
    """An image's name with its transport, as skopeo writes it, which makes it a URI.

    >>> uri("registry.example/team/name:1"), uri("builtin:hello-world")
    ('docker://registry.example/team/name:1', 'builtin:hello-world')
    """
    return reference if reference.startswith(WITH_TRANSPORT) else f"docker://{reference}"


def described(name: str, descriptor: Descriptor) -> dict[str, Any]:
    return {
        "name": name,
        "digest": digest_set(str(descriptor.digest)),
        "mediaType": descriptor.media_type,
        "annotations": {"size": str(descriptor.size)},
    }


def digest_set(digest: str) -> dict[str, str]:
    """Spec: in-toto "DigestSet": algorithm to hexadecimal."""
    found = parse_digest(digest)
    return {found.algorithm: found.encoded}
