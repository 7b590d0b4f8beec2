"""A `traceparent` is read as W3C Trace Context says, and nothing else is."""

import pytest

from app.domain.trace import RequestTrace, read_traceparent, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(VALID, VALID, id="version 00"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-what-comes", VALID, id="a later version with more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, id="version 00 with more"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, id="version ff"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no parent"),
        pytest.param(VALID.upper(), None, id="capitals"),
        pytest.param(VALID[:-1], None, id="short"),
        pytest.param("ada@example.com", None, id="something else"),
    ],
)
def test_a_traceparent_is_read_strictly(text: str, expected: str | None) -> None:
    """What is not one is ignored, and never stored or logged."""
    assert read_traceparent(text) == expected


def test_the_log_line_names_trace_and_batches() -> None:
    """Only where there are any."""
    assert trace_id(VALID) == TRACE
    assert RequestTrace().log_fields() == {}
    assert RequestTrace(VALID, [7]).log_fields() == {"batches": [7], "trace_id": TRACE}
