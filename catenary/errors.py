"""The error tree: what can go wrong, with its HTTP status, in one place.

Every error that a user may see is a `CatenaryError`: its text names the offending value and the fix. A
service turns it into a problem document (RFC 9457), a client turns that back into the same class, and the
command line prints the same text and exits with `exit_code`.
"""

from __future__ import annotations


class CatenaryError(Exception):
    """Base of all errors that carry a message for the user."""

    status = 500
    title = "Internal error"
    exit_code = 1

    @property
    def detail(self) -> str:
        return str(self)


class InvalidValue(CatenaryError):
    """A value that can't be right whatever the state of the system (HTTP 422)."""

    status = 422
    title = "Invalid value"
    exit_code = 2


class Unauthorized(CatenaryError):
    """No token, or a wrong one (HTTP 401)."""

    status = 401
    title = "Unauthorized"
    exit_code = 2


class Forbidden(CatenaryError):
    """What a token's role does not cover, or a web page of another site has a browser ask for (HTTP 403)."""

    status = 403
    title = "Forbidden"
    exit_code = 2


class NotFound(CatenaryError):
    """A name that nothing bears (HTTP 404)."""

    status = 404
    title = "Not found"
    exit_code = 2


class Conflict(CatenaryError):
    """A valid request that the present state forbids (HTTP 409)."""

    status = 409
    title = "Conflict"
    exit_code = 2


class PreconditionFailed(CatenaryError):
    """What the caller saw before, and asked to be unchanged, has changed (HTTP 412)."""

    status = 412
    title = "Precondition failed"
    exit_code = 2


class Unavailable(CatenaryError):
    """Another part can't be reached or is not ready: the same call may succeed later (HTTP 503)."""

    status = 503
    title = "Unavailable"
    exit_code = 3


class TooManyRequests(Unavailable):
    """This caller calls more often than it may (HTTP 429): nothing was done."""

    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, wait: float = 1.0) -> None:
        super().__init__(detail)
        self.wait = wait


class InsufficientStorage(Unavailable):
    """No room is left to write a change down (HTTP 507): nothing was changed."""

    status = 507
    title = "Insufficient storage"


class Unsupported(CatenaryError):
    """This host lacks what the request needs (a kernel feature, a library, a permission; HTTP 501)."""

    status = 501
    title = "Unsupported on this host"
    exit_code = 4


_ERRORS = (
    InvalidValue,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
    InsufficientStorage,
    Unsupported,
)


def from_problem(status: int, detail: str) -> CatenaryError:
    """The error that a problem document stands for; an unknown status gives the base class."""
    for cls in _ERRORS:
        if cls.status == status:
            return cls(detail)
    return (InvalidValue if 400 <= status < 500 else CatenaryError)(detail)
