"""What each answer of Amazon's means: the specification of `read_reply` as rows (P3, P4, contract §4)."""

import json
from dataclasses import dataclass, field
from typing import Any

from app.domain.outcomes import outcome

TAKEN = outcome.ItemAccepted()
MISSING = outcome.ItemUnknown("missing_index")
CONTRADICTORY = outcome.ItemUnknown("contradictory")
UNREADABLE = outcome.ServerError("amazon_unreadable")


@dataclass(frozen=True)
class Row:
    """One answer to a request of `sent` conversions."""

    rule: str
    reply: outcome.Reply
    status: int = 207
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)  # by names in lower case
    sent: int = 1

    def bytes(self) -> bytes:
        """Return the body as it comes over the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def ok(*indexes: Any) -> list[dict[str, Any]]:
    return [{"index": index, "event": None} for index in indexes]


def no(index: Any, *codes: str, message: str = "no", **more: str) -> dict[str, Any]:
    return {"index": index, "errors": [{"code": code, "message": message, **more} for code in codes]}


def answered(*outcomes: Any) -> outcome.PerItemReply:
    return outcome.PerItemReply(tuple(outcomes))


def listed(rule: str, body: Any, *outcomes: Any) -> Row:
    """A 207 that gives the events these outcomes."""
    return Row(rule, answered(*outcomes), body=body, sent=len(outcomes))


def unreadable(rule: str, body: bytes) -> Row:
    """A body that says nothing of any event."""
    return Row(rule, UNREADABLE, 207, body)


def refused(rule: str, code: str, *codes: str) -> Row:
    """An event whose errors have these codes and are permanent; the first one is kept."""
    return listed(rule, {"error": [no(0, *codes or (code,))]}, outcome.ItemRefused(code, "no"))


def failed(rule: str, *codes: str) -> Row:
    """An event whose errors have these codes and may pass."""
    return listed(rule, {"error": [no(0, *codes)]}, outcome.ItemFailed(codes[0], "no"))


ROWS = (
    # A 2xx is read to its body.
    listed("the index under success is delivered", {"success": ok(0)}, TAKEN),
    Row("any 2xx is read, a 200 too", answered(TAKEN), 200, {"success": ok(0)}),
    listed(
        "an event echoed in full changes nothing",
        {"success": [{"index": 0, "event": {"eventId": "a"}}]},
        TAKEN,
    ),
    listed("an empty object is no success", {}, MISSING, MISSING),
    listed("an empty body is no success", b"", MISSING),
    Row("a 204 is no success", answered(MISSING), 204, b""),
    listed("white space is an empty body", b" \r\n", MISSING),
    listed("two empty lists are no success", {"success": [], "error": []}, MISSING),
    Row("`success: true` is no list and delivers nothing", answered(MISSING), 200, {"success": True}),
    listed("`success: null` is no list", {"success": None, "error": None}, MISSING),
    Row("HTML is unreadable", UNREADABLE, 200, b"<html>"),
    Row("a list is unreadable", UNREADABLE, 207, []),
    unreadable("a body cut in the middle is unreadable", b'{"success":[{"index":0'),
    unreadable("a list named twice is unreadable", b'{"success":[{"index":0}],"success":[]}'),
    unreadable(
        "errors named twice are unreadable", b'{"success":[{"index":0}],"error":[{"index":0}],"error":[]}'
    ),
    unreadable("an index named twice in one entry is unreadable", b'{"success":[{"index":1,"index":0}]}'),
    unreadable(
        "an index named twice, once by an escape, is unreadable", b'{"success":[{"\\u0069ndex":1,"index":0}]}'
    ),
    unreadable(
        "errors named twice, once by an escape, are unreadable",
        b'{"success":[{"index":0}],"\\u0065rror":[{"index":0}],"error":[]}',
    ),
    unreadable("nesting without end is unreadable", b"[" * 100_000),
    unreadable("NaN is unreadable", b'{"success":[{"index":NaN}]}'),
    unreadable("a body that is not UTF-8 is unreadable", b'{"success":[{"index":0}],"a":"\xff"}'),
    # Which index.
    listed(
        "indexes count from zero in the list sent",
        {"success": ok(0, 2), "error": [no(1, "BAD_REQUEST")]},
        TAKEN,
        outcome.ItemRefused("BAD_REQUEST", "no"),
        TAKEN,
    ),
    listed("the order of the reply does not matter", {"success": ok(1, 0)}, TAKEN, TAKEN),
    listed("an index in neither list is unknown", {"success": ok(0)}, TAKEN, MISSING),
    listed("an index in both lists is unknown", {"success": ok(0), "error": [no(0, "X")]}, CONTRADICTORY),
    listed("an index named twice under success is delivered once", {"success": ok(0, 0)}, TAKEN),
    listed(
        "errors of an index named twice are read together",
        {"error": [no(0, "CONFLICT"), no(0, "BAD_REQUEST")]},
        outcome.ItemRefused("BAD_REQUEST", "no"),
    ),
    listed("an index past the end names no event", {"success": ok(0, 7)}, TAKEN),
    listed("a negative index names no event, not even the last", {"success": ok(0, -1)}, TAKEN, MISSING),
    listed("`true` is no index", {"success": ok(True)}, MISSING, MISSING),
    listed("a text is no index", {"success": ok("0")}, MISSING),
    listed("a fraction is no index", {"success": ok(0.0)}, MISSING),
    listed("an entry without an index names no event", {"success": [{}, None, 0, "0", [0]]}, MISSING),
    listed(
        "a reply that counts from one is not believed",
        {"success": ok(1), "error": [no(2, "BAD_REQUEST")]},
        CONTRADICTORY,
        CONTRADICTORY,
    ),
    # What an item's errors mean (P4).
    failed("CONFLICT is tried again", "CONFLICT"),
    refused("FIELD_VALUE_IS_INVALID is permanent", "FIELD_VALUE_IS_INVALID"),
    refused("an unknown code is permanent", "SOMETHING_NEW"),
    refused("a code is read as written: lower case is another code", "UNSPECIFIED", "conflict"),
    refused(
        "one permanent error outweighs those that may pass",
        "BAD_REQUEST",
        "CONFLICT",
        "BAD_REQUEST",
        "INTERNAL_ERROR",
    ),
    failed("all that may pass is tried again", "CONFLICT", "INTERNAL_ERROR"),
    listed(
        "an error without a reason is permanent",
        {"error": [{"index": 0}]},
        outcome.ItemRefused("UNSPECIFIED", "Amazon listed the event as an error and gave no reason."),
    ),
    listed(
        "an error whose code is no text is permanent",
        {"error": [{"index": 0, "errors": [{"code": ["X"], "message": 5}]}]},
        outcome.ItemRefused("UNSPECIFIED", ""),
    ),
    listed(
        "the place that Amazon points to is kept",
        {"error": [no(0, "BAD_REQUEST", message="Bad time", fieldLocation="$.events[0].eventTime")]},
        outcome.ItemRefused("BAD_REQUEST", "Bad time", "$.events[0].eventTime"),
    ),
    listed(
        "a place that is no path is left out",
        {"error": [no(0, "BAD_REQUEST", message="", fieldLocation="see <b>")]},
        outcome.ItemRefused("BAD_REQUEST", "", None),
    ),
    # The request as a whole.
    Row(
        "400 is divided",
        outcome.Divisible("BAD_REQUEST", "Too bad"),
        400,
        {"code": "BAD_REQUEST", "message": "Too bad"},
    ),
    Row("400 without a body is divided", outcome.Divisible("BAD_REQUEST", ""), 400),
    Row("413 is divided", outcome.Divisible("CONTENT_TOO_LARGE", ""), 413, b"<html>too large</html>"),
    Row("401 speaks of the token", outcome.Unauthorized(), 401, {"code": "UNAUTHORIZED"}),
    Row("403 speaks of the account", outcome.Forbidden(), 403, {"code": "FORBIDDEN"}),
    Row("429 waits as long as Amazon says", outcome.Throttled(7.0), 429, headers={"retry-after": "7"}),
    Row("429 may say nothing", outcome.Throttled(None), 429),
    Row("500 is Amazon's", outcome.ServerError("amazon_error"), 500, {"error": "Internal server error"}),
    Row("503 may name a wait", outcome.ServerError("amazon_error", 3.0), 503, headers={"retry-after": "3"}),
    Row("408 is a server too slow", outcome.ServerError("amazon_error"), 408),
    Row("a 500 with a good body is no success", outcome.ServerError("amazon_error"), 500, {"success": ok(0)}),
    Row(
        "301 is not followed; the path is not known",
        outcome.Missing("HTTP_301", ""),
        301,
        headers={"location": "https://elsewhere.example/"},
    ),
    Row("304 is unexpected", outcome.Unexpected(304, "HTTP_304", ""), 304),
    Row(
        "404 knows no such path or account",
        outcome.Missing("NOT_FOUND", "No such account"),
        404,
        {"code": "NOT_FOUND", "message": "No such account"},
    ),
    Row("418 is unexpected", outcome.Unexpected(418, "HTTP_418", ""), 418),
    Row("a status beyond all tables is unexpected", outcome.Unexpected(999, "HTTP_999", ""), 999),
)
