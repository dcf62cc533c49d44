"""Signatures of cache records: Ed25519, with key pairs that the project's users make themselves.

openssl genpkey -algorithm ed25519 -out cache.key
openssl pkey -in cache.key -pubout -out cache.pub
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from ...errors import ContentError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HINTS = {
    "private": "make one with: openssl genpkey -algorithm ed25519 -out cache.key",
    "public": "make one with: openssl pkey -in cache.key -pubout -out cache.pub",
}


def sign(content: bytes, *, private_key: Path) -> str:
    """Base64 of the signature. Raises: DeclarationError for a key that cannot be used."""
    need_cryptography(private_key)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def load(pem: bytes) -> object:
        return load_pem_private_key(pem, password=None)

    key = load_key(load, private_key, "private")
    if not isinstance(key, Ed25519PrivateKey):
        raise no_key(private_key, "private")
    return base64.b64encode(key.sign(content)).decode()


def verify_signature(
    content: bytes, signature: str, *, public_keys: Sequence[Path], subject: str
) -> None:
    """One of the keys must have signed. Raises: ContentError, DeclarationError."""
    need_cryptography(public_keys[0])
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if not signature:
        raise ContentError("is not signed, and only signed records are wanted", subject=subject)
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ContentError("its signature is not Base64", subject=subject) from problem
    for path in public_keys:
        key = load_key(load_pem_public_key, path, "public")
        if not isinstance(key, Ed25519PublicKey):
            raise no_key(path, "public")
        try:
            key.verify(raw, content)
        except InvalidSignature:
            continue
        return
    raise ContentError("is signed by nobody who is trusted", subject=subject)


def need_cryptography(key: Path) -> None:
    """Signing is an extra, and who installed without it is told so. Raises: DeclarationError."""
    try:
        import cryptography  # noqa: F401
    except ImportError as problem:
        raise DeclarationError(
            "cannot be used without the package cryptography",
            subject=str(key),
            hint="pip install 'doit-oci[signing]'",
        ) from problem


def load_key(load: Callable[[bytes], object], path: Path, half: str) -> object:
    """The ``half`` of a key pair in a file, of whatever kind. Raises: DeclarationError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(path.read_bytes())
    except OSError as problem:
        raise DeclarationError(str(problem.strerror), subject=str(path)) from problem
    except TypeError as problem:
        why = "is encrypted; a key without a passphrase is needed"
        raise DeclarationError(why, subject=str(path)) from problem
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise no_key(path, half) from problem


def no_key(path: Path, half: str) -> DeclarationError:
    why = f"is no Ed25519 {half} key in PEM form"
    return DeclarationError(why, subject=str(path), hint=HINTS[half])
