"""The ways in which a call of the Runs API can fail.

    ApiError
    ├── ConnectionFailed      nothing came back: DNS, refused, reset, TLS
    │   └── TimedOut
    ├── InvalidResponse       something came back that is not the API's: not JSON, wrong shape
    │   ├── Redirected
    │   └── ResponseTooLarge
    ├── KeyUnreadable         the access key's file cannot be read
    └── Refused               the API, or what stands before it, said no
        ├── BadRequest        400
        ├── Unauthorized      401
        ├── Forbidden         403
        ├── NotFound          404
        ├── RateLimited       429
        └── ServerError       5xx

`transport` translates everything that the HTTP client raises to these, once.
"""

from typing import Self


class ApiError(Exception):
    """A call failed. `status` is the HTTP status if there was one, `retry_after` is in seconds."""

    code = "api_error"
    affects_app = True
    """Whether the failure says something about the app, not only about the run that was asked for."""
    affects_run_only = False
    """Whether it says something about that run alone: the API did answer, in a shape that cannot be read."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code or self.code
        self.retry_after = retry_after

    def without_traceback(self) -> Self:
        """Returns it without where it was raised and because of what: that would keep a whole call alive."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


class ConnectionFailed(ApiError):
    """No answer: name not found, connection refused or reset, TLS failed."""

    code = "connection_failed"
    affects_app = False


class TimedOut(ConnectionFailed):
    """No answer in time."""

    code = "timeout"


class InvalidResponse(ApiError):
    """An answer that is not what the API sends."""

    code = "invalid_response"
    affects_app = False
    affects_run_only = True


class Redirected(InvalidResponse):
    """A redirect, which is never followed: it would carry the key to another host."""

    code = "redirect"
    affects_run_only = False


class ResponseTooLarge(InvalidResponse):
    """An answer of more bytes, or of more values, than there is room for."""

    code = "response_too_large"


class KeyUnreadable(ApiError):
    """The file of the access key cannot be read now."""

    code = "access_key_unreadable"


class Refused(ApiError):
    """A status that is no success. `is_api_error` tells the API's own error document from a proxy's page."""

    code = "refused"
    affects_app = False
    is_api_error = False


class BadRequest(Refused):
    """400: the API does not accept a parameter."""

    code = "bad_request"


class Unauthorized(Refused):
    """401: the key is missing, wrong, expired or deleted."""

    code = "unauthorized"
    affects_app = True


class Forbidden(Refused):
    """403: the key of another project, or a Personal Access Token."""

    code = "forbidden"
    affects_app = True


class NotFound(Refused):
    """404: the run, or the app, does not exist."""

    code = "not_found"


class RateLimited(Refused):
    """429."""

    code = "rate_limited"
    affects_app = True


class ServerError(Refused):
    """5xx."""

    code = "server_error"
