"""What each answer of Amazon's means: the specification of `read_reply` as rows (P3, P4, contract §4)."""

import json
from dataclasses import dataclass, field
from typing import Any

from app.domain.outcomes.outcome import (
    Divisible,
    Forbidden,
    ItemAccepted,
    ItemFailed,
    ItemRefused,
    ItemUnknown,
    Missing,
    PerItemReply,
    Reply,
    ServerError,
    Throttled,
    Unauthorized,
    Unexpected,
)

TAKEN = ItemAccepted()
MISSING = ItemUnknown("missing_index")
CONTRADICTORY = ItemUnknown("contradictory")
UNREADABLE = ServerError("amazon_unreadable")


@dataclass(frozen=True)
class Row:
    """One answer to a request of `sent` conversions."""

    rule: str
    reply: Reply
    status: int = 207
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)  # by names in lower case
    sent: int = 1

    def bytes(self) -> bytes:
        """Return the body as it comes over the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def ok(*indexes: Any) -> list[dict[str, Any]]:
    return [{"index": index, "event": None} for index in indexes]


def no(index: Any, *codes: str, message: str = "no") -> dict[str, Any]:
    return {"index": index, "errors": [{"code": code, "message": message} for code in codes]}


def answered(*outcomes: Any) -> PerItemReply:
    return PerItemReply(tuple(outcomes))


ROWS = (
    # A 2xx is read to its body.
    Row("the index under success is delivered", answered(TAKEN), body={"success": ok(0)}),
    Row("any 2xx is read, a 200 too", answered(TAKEN), 200, {"success": ok(0)}),
    Row(
        "an event echoed in full changes nothing",
        answered(TAKEN),
        body={"success": [{"index": 0, "event": {"eventId": "a"}}]},
    ),
    Row("an empty object is no success", answered(MISSING, MISSING), body={}, sent=2),
    Row("an empty body is no success", answered(MISSING), body=b""),
    Row("a 204 is no success", answered(MISSING), 204, b""),
    Row("white space is an empty body", answered(MISSING), body=b" \r\n"),
    Row("two empty lists are no success", answered(MISSING), body={"success": [], "error": []}),
    Row("`success: true` is no list and delivers nothing", answered(MISSING), 200, {"success": True}),
    Row("`success: null` is no list", answered(MISSING), body={"success": None, "error": None}),
    Row("HTML is unreadable", UNREADABLE, 200, b"<html>"),
    Row("a list is unreadable", UNREADABLE, 207, []),
    Row("a text is unreadable", UNREADABLE, 207, '"ok"'),
    Row("null is unreadable", UNREADABLE, 207, b"null"),
    Row("a body cut in the middle is unreadable", UNREADABLE, 207, b'{"success":[{"index":0'),
    Row("a list named twice is unreadable", UNREADABLE, 207, b'{"success":[{"index":0}],"success":[]}'),
    Row(
        "errors named twice are unreadable",
        UNREADABLE,
        207,
        b'{"success":[{"index":0}],"error":[{"index":0}],"error":[]}',
    ),
    Row(
        "an index named twice in one entry is unreadable",
        UNREADABLE,
        207,
        b'{"success":[{"index":1,"index":0}]}',
    ),
    Row(
        "an index named twice, once by an escape, is unreadable",
        UNREADABLE,
        207,
        b'{"success":[{"\\u0069ndex":1,"index":0}]}',
    ),
    Row(
        "errors named twice, once by an escape, are unreadable",
        UNREADABLE,
        207,
        b'{"success":[{"index":0}],"\\u0065rror":[{"index":0}],"error":[]}',
    ),
    Row("nesting without end is unreadable", UNREADABLE, 207, b"[" * 100_000),
    Row("NaN is unreadable", UNREADABLE, 207, b'{"success":[{"index":NaN}]}'),
    Row("a body that is not UTF-8 is unreadable", UNREADABLE, 207, b'{"success":[{"index":0}],"a":"\xff"}'),
    # Which index.
    Row(
        "indexes count from zero in the list sent",
        answered(TAKEN, ItemRefused("BAD_REQUEST", "no"), TAKEN),
        body={"success": ok(0, 2), "error": [no(1, "BAD_REQUEST")]},
        sent=3,
    ),
    Row("the order of the reply does not matter", answered(TAKEN, TAKEN), body={"success": ok(1, 0)}, sent=2),
    Row("an index in neither list is unknown", answered(TAKEN, MISSING), body={"success": ok(0)}, sent=2),
    Row(
        "an index in both lists is unknown",
        answered(CONTRADICTORY),
        body={"success": ok(0), "error": [no(0, "X")]},
    ),
    Row("an index named twice under success is delivered once", answered(TAKEN), body={"success": ok(0, 0)}),
    Row(
        "errors of an index named twice are read together",
        answered(ItemRefused("BAD_REQUEST", "no")),
        body={"error": [no(0, "CONFLICT"), no(0, "BAD_REQUEST")]},
    ),
    Row("an index past the end names no event", answered(TAKEN), body={"success": ok(0, 7)}),
    Row(
        "a negative index names no event, not even the last",
        answered(TAKEN, MISSING),
        body={"success": ok(0, -1)},
        sent=2,
    ),
    Row("`true` is no index", answered(MISSING, MISSING), body={"success": ok(True)}, sent=2),
    Row("`false` is no index", answered(MISSING), body={"success": ok(False)}),
    Row("a text is no index", answered(MISSING), body={"success": ok("0")}),
    Row("a fraction is no index", answered(MISSING), body={"success": ok(0.0)}),
    Row("a huge index names no event", answered(MISSING), body={"success": ok(10**30)}),
    Row(
        "an entry without an index names no event",
        answered(MISSING),
        body={"success": [{}, None, 0, "0", [0]]},
    ),
    Row(
        "a reply that counts from one is not believed",
        answered(CONTRADICTORY, CONTRADICTORY),
        body={"success": ok(1), "error": [no(2, "BAD_REQUEST")]},
        sent=2,
    ),
    # What an item's errors mean (P4).
    Row(
        "CONFLICT is tried again", answered(ItemFailed("CONFLICT", "no")), body={"error": [no(0, "CONFLICT")]}
    ),
    Row(
        "INTERNAL_ERROR is tried again",
        answered(ItemFailed("INTERNAL_ERROR", "no")),
        body={"error": [no(0, "INTERNAL_ERROR")]},
    ),
    Row(
        "TOO_MANY_REQUESTS is tried again",
        answered(ItemFailed("TOO_MANY_REQUESTS", "no")),
        body={"error": [no(0, "TOO_MANY_REQUESTS")]},
    ),
    Row(
        "FIELD_VALUE_IS_INVALID is for good",
        answered(ItemRefused("FIELD_VALUE_IS_INVALID", "no")),
        body={"error": [no(0, "FIELD_VALUE_IS_INVALID")]},
    ),
    Row(
        "an unknown code is permanent",
        answered(ItemRefused("SOMETHING_NEW", "no")),
        body={"error": [no(0, "SOMETHING_NEW")]},
    ),
    Row(
        "a code is read as written: lower case is another code",
        answered(ItemRefused("UNSPECIFIED", "no")),
        body={"error": [no(0, "conflict")]},
    ),
    Row(
        "one error for good outweighs those that may pass",
        answered(ItemRefused("BAD_REQUEST", "no")),
        body={"error": [no(0, "CONFLICT", "BAD_REQUEST", "INTERNAL_ERROR")]},
    ),
    Row(
        "all that may pass is tried again",
        answered(ItemFailed("CONFLICT", "no")),
        body={"error": [no(0, "CONFLICT", "INTERNAL_ERROR")]},
    ),
    Row(
        "an error without a reason is for good",
        answered(ItemRefused("UNSPECIFIED", "Amazon listed the event as an error and gave no reason.")),
        body={"error": [{"index": 0}]},
    ),
    Row(
        "an error whose code is no text is for good",
        answered(ItemRefused("UNSPECIFIED", "")),
        body={"error": [{"index": 0, "errors": [{"code": ["X"], "message": 5}]}]},
    ),
    Row(
        "the place that Amazon points to is kept",
        answered(ItemRefused("BAD_REQUEST", "Bad time", "$.events[0].eventTime")),
        body={
            "error": [
                {
                    "index": 0,
                    "errors": [
                        {
                            "code": "BAD_REQUEST",
                            "message": "Bad time",
                            "fieldLocation": "$.events[0].eventTime",
                        }
                    ],
                }
            ]
        },
    ),
    Row(
        "a place that is no path is left out",
        answered(ItemRefused("BAD_REQUEST", "", None)),
        body={
            "error": [
                {"index": 0, "errors": [{"code": "BAD_REQUEST", "message": "", "fieldLocation": "see <b>"}]}
            ]
        },
    ),
    # The request as a whole.
    Row(
        "400 is divided",
        Divisible("BAD_REQUEST", "Too bad"),
        400,
        {"code": "BAD_REQUEST", "message": "Too bad"},
    ),
    Row("400 without a body is divided", Divisible("BAD_REQUEST", ""), 400),
    Row("413 is divided", Divisible("CONTENT_TOO_LARGE", ""), 413, b"<html>too large</html>"),
    Row("401 speaks of the token", Unauthorized(), 401, {"code": "UNAUTHORIZED"}),
    Row("403 speaks of the account", Forbidden(), 403, {"code": "FORBIDDEN"}),
    Row("429 waits as long as Amazon says", Throttled(7.0), 429, headers={"retry-after": "7"}),
    Row("429 may say nothing", Throttled(None), 429),
    Row("500 is Amazon's", ServerError("amazon_error"), 500, {"error": "Internal server error"}),
    Row("502 is Amazon's", ServerError("amazon_error"), 502),
    Row("503 may name a wait", ServerError("amazon_error", 3.0), 503, headers={"retry-after": "3"}),
    Row("504 is Amazon's", ServerError("amazon_error"), 504),
    Row("408 is a server too slow", ServerError("amazon_error"), 408),
    Row("a 500 with a good body is no success", ServerError("amazon_error"), 500, {"success": ok(0)}),
    Row(
        "301 is not followed; the path is not known",
        Missing("HTTP_301", ""),
        301,
        headers={"location": "https://elsewhere.example/"},
    ),
    Row("304 is unexpected", Unexpected(304, "HTTP_304", ""), 304),
    Row(
        "404 knows no such path or account",
        Missing("NOT_FOUND", "No such account"),
        404,
        {"code": "NOT_FOUND", "message": "No such account"},
    ),
    Row("418 is unexpected", Unexpected(418, "HTTP_418", ""), 418),
    Row("422 is unexpected", Unexpected(422, "HTTP_422", ""), 422),
    Row("a status beyond all tables is unexpected", Unexpected(999, "HTTP_999", ""), 999),
)
