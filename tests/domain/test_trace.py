"""A `traceparent` is read as W3C Trace Context says, and nothing else is."""

from app.domain.trace import RequestTrace, read_traceparent
from tests.tables import cases

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@cases(
    ("text", "expected"),
    {
        "version 00": (VALID, VALID),
        "a later version with more": (f"cc-{TRACE}-{SPAN}-01-what-comes", VALID),
        "version 00 with more": (f"00-{TRACE}-{SPAN}-01-more", None),
        "version ff": (f"ff-{TRACE}-{SPAN}-01", None),
        "no trace": (f"00-{'0' * 32}-{SPAN}-01", None),
        "no parent": (f"00-{TRACE}-{'0' * 16}-01", None),
        "capitals": (VALID.upper(), None),
        "short": (VALID[:-1], None),
        "something else": ("ada@example.com", None),
    },
)
def test_a_traceparent_is_read_strictly(text: str, expected: str | None) -> None:
    """What is not one is ignored, and never stored or logged."""
    assert read_traceparent(text) == expected


def test_the_log_line_names_trace_and_batches() -> None:
    """Only where there are any."""
    assert RequestTrace().log_fields() == {}
    assert RequestTrace(VALID, [7]).log_fields() == {"batches": [7], "trace_id": TRACE}
