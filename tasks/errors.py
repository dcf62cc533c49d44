"""The exception family: everything a user, a network, a registry or an image can cause.

    DoitOciError(message, *, subject, hint=None)          exit 1
    ├── DeclarationError      images.toml or lock is wrong             exit 3
    │   ├── SchemaViolations  all of them, each with file and JSON path
    │   ├── InvalidReference
    │   ├── UnknownTarget     no image, bundle or task of that name
    │   └── StaleLock         the lock does not fit the declaration
    ├── RegistryError         status and distribution-spec code
    │   ├── AuthenticationFailed
    │   ├── ManifestUnknown
    │   └── RateLimited
    ├── OfflineError          the network is needed and refused (--offline)
    ├── ContentError          what arrived is not what was promised
    │   ├── InvalidDigest     not a digest of an algorithm that the specification registers
    │   ├── DigestMismatch    expected and actual digest
    │   ├── SizeMismatch      expected and actual size in bytes
    │   └── UnsupportedMediaType
    ├── LayerError            a layer cannot be applied
    │   ├── UnsafeEntry       an entry that would leave the rootfs
    │   ├── InvalidWhiteout
    │   └── LimitExceeded     a declared limit of unpacking was reached
    ├── StoreError            the state directory: full disk, foreign owner, read-only
    ├── ConversionError       the image cannot become a runtime configuration
    ├── RuntimeFailed         the runtime could not start the container
    └── CheckFailed           a check's run did not come to what was declared

A broken invariant is an ``assert`` or a plain exception: that is a bug, and shows a traceback.
"""

from __future__ import annotations


class DoitOciError(Exception):
    """What failed, on which object, why, and what to do next."""

    exit_status = 1

    def __init__(
        self, message: str, *, subject: str, hint: str | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        text = f"{self.subject}: {self.message}" if self.subject else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


class DeclarationError(DoitOciError):
    """images.toml or images.lock is wrong, or does not name what was asked for."""

    exit_status = 3


class SchemaViolations(DeclarationError):
    """Every violation of a schema in one document, each a line of its own."""

    def __init__(
        self, violations: tuple[str, ...], *, subject: str, hint: str | None = None
    ) -> None:
        self.violations = violations
        count = len(violations)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n  ".join((head, *violations)), subject=subject, hint=hint)


class InvalidReference(DeclarationError):
    """A text that is no image reference."""


class UnknownTarget(DeclarationError):
    """No image, bundle or task has that name."""


class StaleLock(DeclarationError):
    """images.lock does not fit images.toml."""


class RegistryError(DoitOciError):
    """A registry answered, but not with what was asked for; or did not answer.

    ``retry_after`` is when it wants to be asked again, in seconds, where it says that.
    """

    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        subject: str,
        hint: str | None = None,
        retryable: bool = False,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, subject=subject, hint=hint, retryable=retryable)
        self.status = status
        self.code = code


class AuthenticationFailed(RegistryError):
    """The registry refused the credentials, or wants some."""


class ManifestUnknown(RegistryError):
    """The registry has no manifest of that name."""


class RateLimited(RegistryError):
    """The registry asks us to come back later."""


class OfflineError(DoitOciError):
    """The network is needed, and --offline refuses it."""


class ContentError(DoitOciError):
    """What arrived, or what is stored, is not what was promised."""


class InvalidDigest(ContentError):
    """Not ``algorithm:encoded`` of an algorithm that image-spec registers."""


class DigestMismatch(ContentError):
    """The bytes have another digest than the one they were asked for by."""

    def __init__(
        self, *, subject: str, expected: str, actual: str, hint: str | None = None
    ) -> None:
        super().__init__(f"expected digest {expected}, got {actual}", subject=subject, hint=hint)
        self.expected = expected
        self.actual = actual


class SizeMismatch(ContentError):
    """More or fewer bytes than the descriptor says."""

    def __init__(
        self, *, subject: str, expected: int, actual: int, hint: str | None = None
    ) -> None:
        super().__init__(f"expected {expected} bytes, got {actual}", subject=subject, hint=hint)
        self.expected = expected
        self.actual = actual


class UnsupportedMediaType(ContentError):
    """A document or layer of a kind that cannot be used here."""


class LayerError(DoitOciError):
    """A layer cannot be applied."""


class UnsafeEntry(LayerError):
    """An entry that would reach outside the rootfs."""


class InvalidWhiteout(LayerError):
    """A whiteout whose name removes nothing, or everything."""


class LimitExceeded(LayerError):
    """A declared limit of unpacking was reached."""


class StoreError(DoitOciError):
    """The state directory cannot take or give what is needed."""


class ConversionError(DoitOciError):
    """The image's configuration cannot become a runtime configuration."""


class RuntimeFailed(DoitOciError):
    """The runtime is missing, or could not start the container."""


class CheckFailed(DoitOciError):
    """A bundle ran, and did not do what its check table says."""
