"""Signatures of cache records: Ed25519, with key pairs that the project's users make themselves.

openssl genpkey -algorithm ed25519 -out cache.key
openssl pkey -in cache.key -pubout -out cache.pub
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from ...errors import ContentError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HINT = "make one with: openssl genpkey -algorithm ed25519 -out cache.key"


def sign(content: bytes, *, private_key: Path) -> str:
    """Base64 of the signature. Raises: DeclarationError for a key that cannot be used."""
    need_cryptography(private_key)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_key(lambda pem: load_pem_private_key(pem, password=None), private_key)
    if not isinstance(key, Ed25519PrivateKey):
        raise DeclarationError("is no Ed25519 private key", subject=str(private_key), hint=HINT)
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
        key = load_key(load_pem_public_key, path)
        if not isinstance(key, Ed25519PublicKey):
            raise DeclarationError("is no Ed25519 public key", subject=str(path), hint=HINT)
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


def load_key(load: Callable[[bytes], Any], path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(path.read_bytes())
    except OSError as problem:
        raise DeclarationError(str(problem.strerror), subject=str(path)) from problem
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
        raise DeclarationError("is no key in PEM form", subject=str(path), hint=HINT) from problem
