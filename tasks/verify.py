"""Rehash what lies on the disk: blobs by their names, trees by their recorded entries.

Not in the default graph: it reads every byte. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .errors import DoitOciError
from .oci.digest import Digest, new_hash
from .project.finding import Finding
from .project.plan import Plan, blobs_of
from .store.blob_store import BlobStore
from .store.bundle_digest import bundle_digest
from .store.tree_check import first_difference

CHUNK = 1 << 20
NOTHING: Mapping[str, str] = {}


def verify(
    *, plan: Plan, names: Iterable[str], imported: Mapping[str, str] = NOTHING
) -> list[Finding]:
    """Everything that is not what it was; without names, of all that is there.

    ``imported`` has the digests of bundles that images.toml does not know. Raises: UnknownTarget.
    """
    wanted = list(names)
    if not wanted:
        store = BlobStore(plan.workspace.blobs)
        found = [*verify_blobs(plan.workspace.blobs, sorted(store.digests(), key=str))]
        for name in plan.bundle_names():
            if plan.workspace.bundle(name).exists():
                found += verify_bundle(plan, name, _locked_digest(plan, name))
        for name, digest in imported.items():
            found += verify_bundle(plan, name, digest)
        return found
    found = []
    for name in wanted:
        if name in imported:
            found += verify_bundle(plan, name, imported[name])
        else:
            found += _verify_named(plan, name)
    return found


def _verify_named(plan: Plan, word: str) -> Iterator[Finding]:
    name = word.partition(":")[2] or word
    if name in plan.images.images:
        locked = plan.locked_image(name)
        digests = [
            each.digest
            for platform in (locked.platforms.values() if locked else ())
            for each in blobs_of(platform)
        ]
        there = [digest for digest in digests if plan.workspace.blob(digest).exists()]
        yield from verify_blobs(plan.workspace.blobs, dict.fromkeys(there))
        if name not in plan.images.bundles and not plan.workspace.bundle(name).exists():
            if not there:
                yield Finding(name, "", "nothing of it is built yet")
            return
    bundle = plan.bundle(name)
    if plan.workspace.bundle(bundle.name).exists():
        yield from verify_bundle(plan, bundle.name, _locked_digest(plan, bundle.name))
    else:
        yield Finding(f"bundle {name}", "", "is not built yet")


def verify_blobs(root: Path, digests: Iterable[Digest]) -> Iterator[Finding]:
    """Blobs whose bytes do not have the digest that names them."""
    for digest in digests:
        try:
            actual = _digest_of(root / digest.algorithm / digest.encoded, digest.algorithm)
        except OSError as error:
            yield Finding(f"blob {digest}", "", f"cannot be read: {error.strerror}")
            continue
        if actual != digest.encoded:
            yield Finding(
                f"blob {digest}",
                "",
                f"its bytes have digest {digest.algorithm}:{actual}; delete the file, and the next "
                "run fetches it again",
            )


def _digest_of(path: Path, algorithm: str) -> str:
    running = new_hash(algorithm)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            running.update(chunk)
    return running.hexdigest()


def _locked_digest(plan: Plan, name: str) -> str | None:
    locked = plan.locked_bundle(name, str(plan.platform(plan.bundle(name))))
    return locked[1] if locked else None


def verify_bundle(plan: Plan, name: str, expected: str | None) -> Iterator[Finding]:
    """The tree against its entries, and entries and config.json against the digest expected."""
    space = plan.workspace
    subject = f"bundle {name}"
    entries = space.entries(name)
    if not entries.exists():
        if _was_done(plan, "rootfs", name):
            yield Finding(subject, "rootfs", "has no recorded entries; build it again")
        return
    try:
        difference = first_difference(space.rootfs(name), entries, space.unrepresented(name))
    except FileNotFoundError:
        yield Finding(subject, "rootfs", "is missing")
        return
    except OSError as error:
        yield Finding(subject, "rootfs", f"cannot be read: {error.strerror}")
        return
    except DoitOciError as error:
        yield Finding(subject, error.subject, error.message)
        return
    if difference:
        yield Finding(subject, difference.path, difference.message)
    yield from _verify_digest(plan, name, subject, expected)


def _was_done(plan: Plan, step: str, name: str) -> bool:
    """What a build was ended before, or was not asked for, is not missed."""
    return plan.workspace.stamp(step, name).exists()


def _verify_digest(plan: Plan, name: str, subject: str, expected: str | None) -> Iterator[Finding]:
    space = plan.workspace
    if not space.config_json(name).exists():
        if _was_done(plan, "config", name):
            yield Finding(subject, "config.json", "is missing")
        return
    if expected is None:
        return
    actual = bundle_digest(entries=space.entries(name), config_json=space.config_json(name))
    if actual != expected:
        yield Finding(
            subject, "", f"its digest is {actual}, recorded is {expected}; build it again"
        )
