"""Push and pull: what a bundle is made of, to and from a remote cache, by the bundle's key.

In: a key from the lock. Out: the image's blobs in the store, so that a cold runner builds without
the origin registry, and the portable config.json and entries that say what must come out of them.

A cache can only help: whatever is missing, expired, damaged or written by somebody else costs a
warning and a build. Blobs are those that the lock names, by digest, or none at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ContentError, DigestMismatch, LimitExceeded, RegistryError
from .oci.cache_record import CONFIG_JSON, ENTRIES_GZIP, CacheRecord, parse_record
from .oci.descriptor import Descriptor
from .oci.digest import parse_digest
from .store.archive_stream import compressed
from .store.atomic import store_error
from .store.blob_store import BlobStore
from .store.bundle_digest import bundle_digest, digest_of, file_digest
from .value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .progress import Progress
    from .store.remote.cache import RemoteCache

JOBS = 4
MISSING = 404
CHUNK = 1 << 20
ENTRIES_LIMIT = 4 << 30
"""Bytes of recorded entries, unpacked: some ten million files."""
DOCUMENT_LIMIT = 512 << 20
"""Bytes of what a record, and no lock, names: config.json, and the entries as they are packed."""


class Moved(Value):
    """``blobs`` and ``bytes`` are what went over the wire."""

    bundle_digest: str
    blobs: int
    bytes: int


def push(
    *,
    cache: RemoteCache,
    key: str,
    descriptors: Sequence[Descriptor],
    blobs: Path,
    tmp: Path,
    entries: Path,
    config_json: Path,
    private_key: Path | None = None,
    progress: Progress,
) -> Moved:
    """Bring a built bundle into the cache; what is there already is not sent.

    ``descriptors`` are manifest, configuration and layers in the store ``blobs``, of every platform
    that is wanted of the image: its layout is made of all of them.
    Raises: RegistryError, StoreError, ContentError where the store is damaged.
    """
    store = BlobStore(blobs, tmp)
    with scratch(tmp) as place:
        packed = place / "entries"
        with packed.open("wb") as stream, compressed(stream, "gzip") as sink:
            sink.write(entries.read_bytes())
        config = described(config_json, CONFIG_JSON)
        listed = described(packed, ENTRIES_GZIP)
        record = CacheRecord(
            key=key,
            bundle_digest=parse_digest(bundle_digest(entries=entries, config_json=config_json)),
            blobs=tuple(descriptors),
            config_json=config,
            entries=listed,
        )
        if private_key is not None:
            from .store.remote.signature import sign

            record = record.replacing(signature=sign(record.signed(), private_key=private_key))
        sources = {each.digest: store.path(each.digest) for each in descriptors}
        sources |= {config.digest: config_json, listed.digest: packed}
        unique = {each.digest: each for each in record.contents}

        def send(each: Descriptor) -> int:
            if cache.has_blob(each):
                return 0
            if each not in (config, listed):
                with store.open_blob(each) as stored:
                    stored.drain()
            item = progress.start("blob", f"push {each.digest.short}", each.size)
            sent = cache.put_blob(each, sources[each.digest])
            progress.advance(item, each.size)
            progress.finish(item, "done" if sent else "reused")
            return sent

        with ThreadPoolExecutor(JOBS) as pool:
            sent = list(pool.map(send, unique.values()))
    cache.save(key, record.to_bytes())
    return Moved(
        bundle_digest=str(record.bundle_digest), blobs=sum(map(bool, sent)), bytes=sum(sent)
    )


def pull(
    *,
    cache: RemoteCache,
    key: str,
    digest: str,
    descriptors: Sequence[Descriptor],
    others: Sequence[Descriptor] = (),
    blobs: Path,
    tmp: Path,
    public_keys: Sequence[Path] = (),
    may_write: bool = False,
    failed: Callable[[], None] = lambda: None,
    progress: Progress,
) -> Moved | None:
    """Fetch what the lock names as far as the store lacks it; None where the cache is no help.

    ``digest`` is the bundle's and ``descriptors`` are those of its platform in the lock; ``others``
    are fetched as well if the cache has them with this bundle. With ``public_keys`` only what one
    of them signed is used; ``may_write`` lets damaged content be taken out of the cache; ``failed``
    is called where the cache itself does not work, and asking again would be in vain. config.json
    and entries in the cache are held against ``digest``, blobs against theirs.
    Raises: StoreError, for this machine's own disk; DeclarationError for a bad key.
    """
    subject = f"remote cache: {key[:12]}"
    store = BlobStore(blobs, tmp)
    suspects: list[Descriptor] = []
    try:
        raw = cache.load(key)
        if raw is None:
            return None
        record = parse_record(raw, key=key, subject=subject)
        if public_keys:
            from .store.remote.signature import verify_signature

            verify_signature(
                record.signed(), record.signature, public_keys=public_keys, subject=subject
            )
        check_promise(record, digest, descriptors, subject)
        offered = {each.digest for each in record.blobs}
        wanted = {each.digest: each for each in (*descriptors, *others) if each.digest in offered}
        missing = [each for each in wanted.values() if not store.has_blob(each)]
        suspects = missing
        moved = cache.fetch(missing, store=store)
        suspects = [record.config_json, record.entries]
        with scratch(tmp) as place:
            moved += check_documents(cache, record, place, subject)
    except (RegistryError, ContentError, LimitExceeded) as problem:
        progress.note(f"{problem.subject}: {problem.message}; building without the remote cache")
        if isinstance(problem, RegistryError) and problem.status != MISSING:
            failed()
        if may_write and isinstance(problem, ContentError) and suspects:
            cache.discard(key, [each for each in suspects if not store.has_blob(each)])
        return None
    return Moved(bundle_digest=str(record.bundle_digest), blobs=len(missing), bytes=moved)


def check_promise(
    record: CacheRecord, digest: str, descriptors: Sequence[Descriptor], subject: str
) -> None:
    """Raises: ContentError where the record is of another bundle than the lock, or lacks a blob."""
    if str(record.bundle_digest) != digest:
        actual = str(record.bundle_digest)
        raise DigestMismatch(subject=subject, expected=digest, actual=actual)
    offered = {(each.digest, each.size) for each in record.blobs}
    for each in descriptors:
        if (each.digest, each.size) not in offered:
            raise ContentError(f"lacks {each.digest}, which the lock names", subject=subject)
    for each in (record.config_json, record.entries):
        if each.size > DOCUMENT_LIMIT:
            raise LimitExceeded(f"names {each.digest} of {each.size} bytes", subject=subject)


def check_documents(cache: RemoteCache, record: CacheRecord, place: Path, subject: str) -> int:
    """Fetch config.json and the entries, hold them against the record's bundle digest."""
    store = BlobStore(place / "blobs", place / "tmp")
    moved = cache.fetch((record.config_json, record.entries), store=store)
    actual = digest_of(
        rootfs=unpacked_digest(store.path(record.entries.digest), subject),
        config=file_digest(store.path(record.config_json.digest)),
    )
    if actual != str(record.bundle_digest):
        raise DigestMismatch(subject=subject, expected=str(record.bundle_digest), actual=actual)
    return moved


def unpacked_digest(source: Path, subject: str) -> str:
    """Of one gzip member, of bounded size. Raises: ContentError, LimitExceeded."""
    engine, running, size = zlib.decompressobj(31), hashlib.sha256(), 0
    with source.open("rb") as stream:
        try:
            while not engine.eof and (chunk := engine.unconsumed_tail or stream.read(CHUNK)):
                piece = engine.decompress(chunk, CHUNK)
                size += len(piece)
                if size > ENTRIES_LIMIT:
                    raise LimitExceeded("has too many entries", subject=subject)
                running.update(piece)
        except zlib.error as problem:
            raise ContentError(f"its entries are damaged: {problem}", subject=subject) from problem
    if not engine.eof:
        raise ContentError("its entries end too early", subject=subject)
    return f"sha256:{running.hexdigest()}"


def described(path: Path, media_type: str) -> Descriptor:
    """A descriptor of a file of ours."""
    return Descriptor(
        media_type=media_type, digest=parse_digest(file_digest(path)), size=path.stat().st_size
    )


@contextlib.contextmanager
def scratch(tmp: Path) -> Iterator[Path]:
    """A directory for the time of the block. Raises: StoreError, also for what fails in there."""
    try:
        tmp.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="cache-", dir=tmp))
    except OSError as problem:
        raise store_error(problem, tmp) from problem
    try:
        yield place
    except OSError as problem:
        raise store_error(problem, tmp) from problem
    finally:
        shutil.rmtree(place, ignore_errors=True)
