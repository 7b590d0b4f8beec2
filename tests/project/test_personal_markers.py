"""The search for personal data in what tests store and log finds what should not be there."""

import logging

import pytest

from tests.personal_markers import LogSearch, markers_in


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x00ord-1\x00person17@example.com\x00", {"person17@example.com"}),
        (b"{'brand': 'qzmarkerbrand'}", {"qzmarkerbrand"}),
        (b"Canary-7f3a@example.com qzmarkername", set()),
        (b"acme example.com", set()),
    ],
)
def test_a_marker_is_found_unless_it_is_written_deliberately(data: bytes, found: set[str]) -> None:
    """Within the bytes of a row."""
    assert markers_in(data) == found


def test_a_marker_in_a_field_of_a_log_line_is_found() -> None:
    """As the process would write it."""
    search, log = LogSearch(), logging.Logger("app.example")
    log.addHandler(search)
    log.warning("claim.failed", extra={"fields": {"destination": "dst_1"}})
    assert search.found == set()
    log.warning("claim.failed", extra={"fields": {"destination": "ada@example.com"}})
    assert search.found == {"ada@example.com"}
