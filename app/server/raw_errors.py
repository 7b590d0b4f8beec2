"""Answers that a connection writes itself, before or instead of the application: errors in the one shape."""

import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse

from app.admin.refusals import Problem, error_body
from app.api.errors import status_of
from app.domain.admission import ShedReason
from app.server.admission import shed_problem
from app.server.middleware import FIXED_HEADERS, request_id_of

Headers = Sequence[tuple[bytes, bytes]]


def last_response(problem: Problem, headers: Headers) -> bytes:
    """Return a response, as the application would have sent it; the last one of its connection."""
    head, body = _prepared(problem)
    more = [(b"connection", b"close"), (b"x-request-id", secrets.token_hex(8).encode())]
    if status_of(problem) in (429, 503):
        more.append((b"retry-after", b"%d" % (1 + secrets.randbelow(5))))
    return head + _lines([*headers, *more]) + body


def shed_response(
    cause: ShedReason, retry_after: int, asked: Headers, headers: Headers, *, last: bool
) -> bytes:
    """Return the response to a post that was shed by its head. `asked` are the request's own headers."""
    head, body = _SHED[cause]
    more = [(b"retry-after", b"%d" % retry_after), (b"x-request-id", request_id_of(asked).encode())]
    if last:
        more.append((b"connection", b"close"))
    return head + _lines([*headers, *more]) + body


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _prepared(problem: Problem) -> tuple[bytes, bytes]:
    """Return what is the same in every answer of a problem: what stands before and after the rest."""
    response = JSONResponse(error_body(problem), status_of(problem))
    status = HTTPStatus(response.status_code)
    line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    return line + _lines([*response.raw_headers, *FIXED_HEADERS]), b"\r\n" + bytes(response.body)


_SHED: Final = {cause: _prepared(shed_problem(cause)) for cause in ShedReason}
