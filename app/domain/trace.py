"""The W3C trace context of a request, which batches, attempts and callbacks continue.

`tracestate` and `baggage` are never read: they may contain anything, even personal data.
"""

import re
from typing import Final

import msgspec

from app.domain.ids import BatchId

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)
_TRACE_ID: Final = slice(3, 35)  # of a `traceparent`


def read_traceparent(text: str) -> str | None:
    """Return a `traceparent` header of any version as version 00, or None if it is invalid."""
    head = text[:55]
    if _TRACEPARENT.fullmatch(head) is None or (len(text) > 55 and (head[:2] == "00" or text[55] != "-")):
        return None
    return f"00{head[2:]}"


def is_sampled(traceparent: str) -> bool:
    """Return whether the caller samples this trace."""
    return bool(int(traceparent[53:55], 16) & 1)


class RequestTrace(msgspec.Struct):
    """The ids of a request, and the batches that its events are stored in."""

    traceparent: str | None = None
    batches: list[BatchId] = []
    request_id: str | None = None

    def log_fields(self) -> dict[str, object]:
        """Return the fields for the request's line in the log."""
        fields: dict[str, object] = {}
        if self.batches:
            fields["batches"] = self.batches
        if self.traceparent is not None:
            fields["trace_id"] = self.traceparent[_TRACE_ID]
        return fields
