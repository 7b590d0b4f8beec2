"""What surrounds every request: an id, a size limit, safe headers, a log line, an answer when all breaks.

Plain ASGI: the framework's own middleware class costs two thirds of the requests a second.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote_to_bytes

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.errors import Problem, Refusal, Word, answer, problem_of
from app.web.pressure import Gauges, Ticket
from app.web.turnstile import Turnstile

logger = logging.getLogger("app.web.requests")

MIB = 1024 * 1024
BODY_CAP = MIB
# Where more is taken than of an administrative body.
LARGER_BODIES: Mapping[str, int] = {"/events": 5 * MIB}

# A page brings its own policy; everything else is never rendered, framed or kept.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

# As the server takes them; starlette writes names of headers in lower case.
_RAW_HEADERS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
_REQUEST_ID_HEADER = b"x-request-id"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Envelope:
    """Wraps the whole application. `monotonic` is in seconds."""

    def __init__(
        self, app: ASGIApp, *, registry: CollectorRegistry, monotonic: Callable[[], float], gauges: Gauges
    ) -> None:
        self._app = app
        self._gauges = gauges
        self._turnstile = Turnstile()
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
                    *(header for header in headers if header[0] != _REQUEST_ID_HEADER),
                    (_REQUEST_ID_HEADER, request_id.encode()),
                    *(header for header in _RAW_HEADERS if header[0] not in present),
                ]
            await send(message)

        ticket: Ticket | None = None
        try:
            problem = _unreadable(scope)
            if problem is None:
                told, is_post = (
                    told_length(scope["headers"]),
                    scope["path"] == "/events" and scope["method"] == "POST",
                )
                if is_post or told != 0:
                    # Before anything is asked of the database, and before the body is read.
                    over = told is not None and told > LARGER_BODIES.get(scope["path"], BODY_CAP)
                    # One that is too large anyway is answered 413 and never read.
                    entered = self._gauges.enter(0 if over else told, is_post=is_post)
                    if isinstance(entered, Ticket):
                        ticket = entered
                        receive = self._charged(entered, receive)
                    else:
                        problem = entered
                        if is_post:
                            scope["route"] = EVENTS_ROUTE
            if problem is None:
                await self._app(scope, _capped(scope, receive, told), send_with_headers)
            else:
                await answer(problem)(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499  # nobody is left to be answered
        except Exception as error:
            problem = problem_of(error)
            if status == 0:
                await answer(problem)(scope, receive, send_with_headers)
        finally:
            if ticket is not None:
                self._gauges.leave(ticket, status)
            self._note(scope, status, self._monotonic() - began, request_id)

    def _charged(self, ticket: Ticket, receive: Receive) -> Receive:
        """Return `receive` that notes the bytes it brings, and ends a body that outgrows the room."""

        async def receive_charged() -> Message:
            message = await receive()
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            if ticket.read_at is None:
                problem = self._gauges.read(ticket, message.get("body", b""), complete=complete)
                if problem is not None:
                    raise Refusal.of(problem)
                if complete and ticket.is_post:
                    # Behind this the post is read and judged: that is where its time goes.
                    await self._turnstile.pass_through(ticket.cost)
                    if (problem := self._gauges.grown(ticket)) is not None:
                        raise Refusal.of(problem)
            return message

        return receive_charged

    def _note(self, scope: Scope, status: int, took: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        key = (method, route, status)
        counted = self._series.get(key)
        if counted is None:
            # Finding a series by its labels costs more than counting.
            counted = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._series[key] = counted
        counted[0].inc()
        counted[1].observe(took)
        if not logger.isEnabledFor(logging.INFO):
            return
        caller = scope["state"].get("caller")
        logger.info(
            "request id=%s method=%s route=%s status=%d took_ms=%d key=%s",
            request_id,
            method,
            route,
            status,
            round(took * 1000),
            getattr(caller, "key", "-"),
        )


class _EventsRoute:
    """Stands for the route in the metrics when it was not reached."""

    path = "/events"


EVENTS_ROUTE = _EventsRoute()

Headers = Iterable[tuple[bytes, bytes]]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id_of(headers: Headers) -> str:
    """Return the caller's own request id when it is harmless in a log line, or a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return secrets.token_hex(8)


def _unreadable(scope: Scope) -> Problem | None:
    """Return what is wrong with an address: no id holds NUL, and Postgres would choke on one in a search."""
    if "\0" in scope["path"]:
        return Problem(Word.NOT_FOUND)
    if b"\0" in unquote_to_bytes(scope["query_string"]):
        return Problem(Word.MALFORMED, "The query holds the character NUL, which no parameter takes.")
    return None


def told_length(headers: Headers) -> int | None:
    """Return the length of the body as told beforehand; 0 where there is none, None where nobody told."""
    for name, value in headers:
        if name == b"content-length":
            return int(value[:20]) if value.isdigit() else 0
        if name == b"transfer-encoding":
            return None
    return 0


def _capped(scope: Scope, receive: Receive, told: int | None) -> Receive:
    """Return `receive` that refuses a body larger than its address takes, told beforehand or not."""
    cap = LARGER_BODIES.get(scope["path"], BODY_CAP)
    too_large = (told or 0) > cap
    seen = 0

    async def receive_capped() -> Message:
        nonlocal seen
        if too_large:
            raise Refusal(Word.TOO_LARGE)
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > cap:
            raise Refusal(Word.TOO_LARGE)
        return message

    return receive_capped
