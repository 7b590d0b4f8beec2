"""Request middleware: request id, admission control, body size limit, headers, metrics, log line, errors.

It is plain ASGI, because starlette's `BaseHTTPMiddleware` reduces the requests per second by two thirds.
"""

import logging
import random
import re
from collections.abc import Mapping
from dataclasses import InitVar, dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admin import ErrorCode, Refusal
from app.api.errors import error_response, problem_of
from app.api.http.headers import FirstHeaders
from app.api.http.query_parameters import unreadable_target
from app.domain.admission import ShedReason
from app.domain.trace import RequestTrace, read_traceparent
from app.server.admission import PERMIT, AdmissionController, Permit
from app.server.request_head import RequestHead, read_head
from app.telemetry import NAMESPACE, OtlpSpans

_log = logging.getLogger("app.requests")

# Defaults for responses that are never rendered, framed or cached. Console pages set their own.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

# HEADERS as ASGI sends them, with the names in lower case.
FIXED_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
REQUEST_ID = b"x-request-id"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_CLOSED_REQUEST = 499  # the status in logs and metrics if the client disconnected
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(eq=False)
class RequestMiddleware:
    """Wraps the framework's application."""

    app: ASGIApp
    registry: InitVar[CollectorRegistry]
    admission: AdmissionController
    spans: OtlpSpans | None = None

    def __post_init__(self, registry: CollectorRegistry) -> None:
        # The label `route` is the path template, which has few values and no personal data.
        self._request_count = Counter(
            "http_requests",
            "HTTP requests answered",
            ("method", "route", "status"),
            NAMESPACE,
            registry=registry,
        )
        self._request_duration = Histogram(
            "http_request_duration_seconds",
            "Duration of an HTTP request",
            ("route",),
            NAMESPACE,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = self.admission.monotonic(), 0
        head, admitted = admitted_by_head(scope, self.admission)
        request_id, trace = ids_of(head.headers)
        scope["state"]["request_id"] = request_id

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

        try:
            if not isinstance(admitted, Permit):
                await error_response(self.admission.problem(admitted))(scope, receive, send_with_headers)
            elif (problem := unreadable_target(scope)) is not None:
                await error_response(problem)(scope, receive, send_with_headers)
            else:
                body = RequestBodyReader(receive, admitted, self.admission)
                await self.app(scope, body.receive, send_with_headers)
        except ClientDisconnect:
            status = status or CLIENT_CLOSED_REQUEST
        except Exception as error:
            problem = problem_of(error)
            if status == 0:
                await error_response(problem)(scope, receive, send_with_headers)
        finally:
            if isinstance(admitted, Permit):
                self.admission.release(admitted, status)
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"  # bounded labels
            acting = scope["state"].get("context")
            key = None if acting is None else acting.caller.key
            self.record(method, route, status, self.admission.monotonic() - began, request_id, key, trace)

    def record(
        self,
        method: str,
        route: str,
        status: int,
        duration_s: float,
        request_id: str,
        key: str | None,
        trace: RequestTrace | None = None,
    ) -> None:
        """Count an answered request and log it as `http.request`."""
        series = self._series.get((method, route, status))
        if series is None:
            # Cached, because looking up a series by its labels costs more than counting.
            series = (
                self._request_count.labels(method, route, str(status)),
                self._request_duration.labels(route),
            )
            self._series[method, route, status] = series
        series[0].inc()
        series[1].observe(duration_s)
        if self.spans is not None:
            self.spans.record(
                f"{method} {route}",
                duration_s=duration_s,
                attributes={
                    "http.response.status_code": status,
                    "request_id": request_id,
                    "batches": trace.batches if trace is not None else None,
                },
                parent=trace.traceparent if trace is not None else None,
            )
        if _log.isEnabledFor(logging.INFO):
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "duration_ms": round(duration_s * 1000),
                "request_id": request_id,
                "key": key,
                **(trace.log_fields() if trace is not None else {}),
            }
            _log.info("http.request", extra={"fields": fields})


def ids_of(headers: FirstHeaders) -> tuple[str, RequestTrace]:
    """Return the id of a request, and its trace with the caller's `traceparent` if that is valid.

    The id is the caller's `X-Request-Id` if that is safe in a log line, else a new random one.
    """
    request_id = headers.get(REQUEST_ID, b"").decode("latin-1")
    if _REQUEST_ID.fullmatch(request_id) is None:
        request_id = f"{random.getrandbits(64):016x}"  # not a secret
    value = headers.get(b"traceparent")
    traceparent = None if value is None else read_traceparent(value.decode("latin-1"))
    return request_id, RequestTrace(traceparent, request_id=request_id)


def admitted_by_head(scope: Scope, admission: AdmissionController) -> tuple[RequestHead, Permit | ShedReason]:
    """Return the head of a request, with its target as the client sent it, and its permit.

    The connection admitted it by its head, unless an earlier request of the connection was not yet answered.
    """
    permit: Permit | None = scope.setdefault("state", {}).pop(PERMIT, None)
    if permit is not None:
        return permit.head, permit
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    head = read_head(scope["method"].encode(), path + b"?" + query if query else path, scope["headers"])
    return head, admission.admit(head)


@dataclass(frozen=True, slots=True)
class HeadRequests:
    """An ASGI application that serves HEAD requests with the GET routes of `app`, without the bodies.

    Their status and headers are the same (RFC 9110 §9.3.2).
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                raise ClientDisconnect  # ends a streamed response

        get_scope = {**scope, "method": "GET"}
        try:
            await self.app(get_scope, receive, send_without_body)
        finally:
            if "route" in get_scope:
                scope["route"] = get_scope["route"]  # for the metrics


@dataclass(slots=True)
class RequestBodyReader:
    """Reads the body of an admitted request, and charges it to admission control.

    Reading raises Refusal for a body over the limit of its path or of admission control.
    """

    _receive: Receive
    _permit: Permit
    _admission: AdmissionController
    _size: int = 0

    async def receive(self) -> Message:
        """Return the next ASGI message."""
        head = self._permit.head
        if (head.length or 0) > head.max_body:
            raise Refusal(ErrorCode.TOO_LARGE)
        message = await self._receive()
        body = message.get("body", b"")
        self._size += len(body)
        if self._size > head.max_body:
            raise Refusal(ErrorCode.TOO_LARGE)
        if self._permit.read_at is None:
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            problem = self._admission.record_read(self._permit, body, complete=complete)
            if problem is not None:
                raise Refusal.of(problem)
        return message

    async def read(self) -> bytes:
        """Return the body. Raises ClientDisconnect if the client closes before the body's end."""
        chunks = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
