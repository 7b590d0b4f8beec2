"""Error responses that a connection writes without the application."""

import secrets
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from app.admin import Problem, error_body
from app.api.errors import status_of
from app.api.http.headers import FirstHeaders, RawHeaders
from app.domain.admission import ShedReason
from app.server.admission import shed_problem
from app.server.middleware import FIXED_HEADERS, ids_of


def last_response(problem: Problem, headers: RawHeaders, *, to_head: bool) -> bytes:
    """Return an error response with `Connection: close`, in the format of the application's errors.

    The response to a HEAD request has no body (RFC 9110 §9.3.2).
    """
    head, body = _prepared(problem)
    extra = [(b"connection", b"close"), (b"x-request-id", secrets.token_hex(8).encode())]
    if status_of(problem) in (429, 503):
        extra.append((b"retry-after", b"%d" % (1 + secrets.randbelow(5))))
    return head + _lines([*headers, *extra]) + (b"\r\n" if to_head else body)


def shed_response(
    reason: ShedReason, retry_after: int, request_headers: FirstHeaders, headers: RawHeaders, *, last: bool
) -> bytes:
    """Return the response to a post that was shed before its body. `headers` are the server's defaults.

    `last` adds `Connection: close`.
    """
    head, body = _SHED[reason]
    extra = [(b"retry-after", b"%d" % retry_after), (b"x-request-id", ids_of(request_headers)[0].encode())]
    if last:
        extra.append((b"connection", b"close"))
    return head + _lines([*headers, *extra]) + body


def _lines(headers: RawHeaders) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _prepared(problem: Problem) -> tuple[bytes, bytes]:
    """Return the constant parts of an error response: before and after the variable headers."""
    response = JSONResponse(error_body(problem), status_of(problem))
    status = HTTPStatus(response.status_code)
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return line + _lines([*response.raw_headers, *FIXED_HEADERS]), b"\r\n" + bytes(response.body)


_SHED: Final = {reason: _prepared(shed_problem(reason)) for reason in ShedReason}
