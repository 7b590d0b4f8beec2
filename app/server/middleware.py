"""What surrounds every request: an id, a size limit, safe headers, a log line, an answer when all breaks.

Plain ASGI: the framework's own middleware class costs two thirds of the requests a second.
"""

import logging
import random
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import error_response, problem_of
from app.api.query_parameters import unreadable_target
from app.api.secured_route import CLAIM
from app.server.admission import TICKET, AdmissionController, Permit
from app.server.loop_limiter import LoopLimiter
from app.server.request_body import RequestBodyReader, max_body_bytes

logger = logging.getLogger("app.requests")

# A page brings its own policy; everything else is never rendered, framed or kept.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

# As the server takes them; starlette writes names of headers in lower case.
FIXED_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
REQUEST_ID = b"x-request-id"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class RequestMiddleware:
    """Wraps the whole application. `monotonic` is in seconds."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: CollectorRegistry,
        monotonic: Callable[[], float],
        admission: AdmissionController,
        loop_limiter: LoopLimiter,
    ) -> None:
        self._app = app
        self._admission = admission
        self._loop_limiter = loop_limiter
        self._monotonic = monotonic
        # Labels hold templates of paths, never paths: there are few, and nobody is named in them.
        self._requests = Counter(
            "http_requests", "Requests answered", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "http_request_seconds", "Time to answer", ("route",), buckets=_BUCKETS, registry=registry
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._monotonic(), 0
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                present = {name for name, _ in headers}
                message["headers"] = [
                    *(header for header in headers if header[0] != REQUEST_ID),
                    (REQUEST_ID, request_id.encode()),
                    *(header for header in FIXED_HEADERS if header[0] not in present),
                ]
            await send(message)

        permit: Permit | None = None
        try:
            problem = unreadable_target(scope)
            told, cap = declared_length(scope["headers"]), max_body_bytes(scope["path"])
            if problem is None and told != 0:
                # Before anything is asked of the database, and before the body is read. One that is too
                # large anyway is answered 413 and never read.
                entered = self._admission.enter(0 if (told or 0) > cap else told, is_post=False)
                if isinstance(entered, Permit):
                    permit = scope["state"][TICKET] = entered
                    scope["state"][CLAIM] = partial(self._admission.claim, entered)
                else:
                    problem = entered
            if problem is None:
                body = RequestBodyReader(
                    receive,
                    cap=cap,
                    told=told,
                    permit=permit,
                    admission=self._admission,
                    loop_limiter=self._loop_limiter,
                )
                await self._app(scope, body.receive, send_with_headers)
            else:
                await error_response(problem)(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499  # nobody is left to be answered
        except Exception as error:
            problem = problem_of(error)
            if status == 0:
                await error_response(problem)(scope, receive, send_with_headers)
        finally:
            if permit is not None:
                self._admission.leave(permit, status)
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            key = getattr(scope["state"].get("caller"), "key", None)
            self.note(method, route, status, self._monotonic() - began, request_id, key)

    def note(
        self, method: str, route: str, status: int, took: float, request_id: str, key: str | None
    ) -> None:
        """Count a request that was answered, and write its line; `took` is in seconds."""
        counted = self._series.get((method, route, status))
        if counted is None:
            # Finding a series by its labels costs more than counting.
            counted = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._series[method, route, status] = counted
        counted[0].inc()
        counted[1].observe(took)
        if not logger.isEnabledFor(logging.INFO):
            return
        logger.info(
            "request id=%s method=%s route=%s status=%d duration_ms=%d key=%s",
            request_id,
            method,
            route,
            status,
            round(took * 1000),
            key or "-",
        )


Headers = Iterable[tuple[bytes, bytes]]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id_of(headers: Headers) -> str:
    """Return the caller's own request id when it is harmless in a log line, or a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return f"{random.getrandbits(64):016x}"  # no secret, and asked for with every post


def declared_length(headers: Headers) -> int | None:
    """Return the length of the body as told beforehand; 0 where there is none, None where nobody told.

    The server's parser takes blanks around a length and zeros before it. What is no number is not told.
    """
    for name, value in headers:
        if name == b"content-length":
            digits = value.strip(b" \t").lstrip(b"0")[:20] or b"0"
            return int(digits) if digits.isdigit() else None
        if name == b"transfer-encoding":
            return None
    return 0
