"""Why the service does not do what it is asked: each a kind, a message, a remedy and a status."""

from __future__ import annotations

from typing import ClassVar

from facevoice.errors import FacevoiceError


class ServiceError(FacevoiceError):
    """A request is refused.

    Args:
        message: what is wrong.
        remedy: what helps.
        retry_s: when to try again; None where that doesn't help.
    """

    status: ClassVar[int] = 400

    def __init__(self, message: str, remedy: str, retry_s: float | None = None) -> None:
        self.message = message
        self.remedy = remedy
        self.retry_s = retry_s
        super().__init__(f"{message} {remedy}")


class InvalidRequestError(ServiceError):
    """Something in it is not as it must be."""

    status = 422


class InvalidKeyError(ServiceError):
    """No key, or one that is not known."""

    status = 401


class ForbiddenError(ServiceError):
    """The key may not do that, or a foreign page asks."""

    status = 403


class NotFoundError(ServiceError):
    """No such job of this key, or no such path."""

    status = 404


class NotDoneError(ServiceError):
    """The job has no report yet."""

    status = 409


class BodyTooLargeError(ServiceError):
    """The file is larger than the key may send."""

    status = 413

    @property
    def kind(self) -> str:
        """As of a file behind an address."""
        return "too_large"


class TooManyJobsError(ServiceError):
    """As many jobs of this key wait or run as may."""

    status = 429


class TooManyRequestsError(ServiceError):
    """The key asks more often than it may, or holds more streams open."""

    status = 429


class DiskFullError(ServiceError):
    """The server has no room for the file."""

    status = 507


class UnavailableError(ServiceError):
    """The service ends, or can't reach its database."""

    status = 503


class UnexpectedError(ServiceError):
    """A fault of the service."""

    status = 500

    @property
    def kind(self) -> str:
        """As of a file on which something unforeseen happened."""
        return "internal"
