"""The search of the write-ahead log and of log lines finds what should not be there."""

import logging
import struct
from pathlib import Path

import pytest

from tests.personal_markers import CONTROL, LogSearch, WalSearch, markers_in

SEGMENT = 16 << 20


def write_segment(folder: Path, number: int, content: bytes, *, renamed_from: int | None = None) -> None:
    """Write a segment; one that waits for later use still has the address of an earlier one."""
    begun = number if renamed_from is None else renamed_from
    header = struct.pack("<8xQ", (begun // 256 << 32) + begun % 256 * SEGMENT)
    (folder / f"00000001{number // 256:08X}{number % 256:08X}").write_bytes(header + content)


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


def test_each_segment_of_the_write_ahead_log_is_searched(tmp_path: Path) -> None:
    """A complete one at once, the current one at the end, one of later use never."""
    search = WalSearch(tmp_path)
    write_segment(tmp_path, 255, b"first@example.com")
    write_segment(tmp_path, 256, CONTROL.encode() + b" second@example.com")
    write_segment(tmp_path, 257, b"third@example.com", renamed_from=3)
    search._search(complete=True)
    assert (search.found, search.saw_control) == ({"first@example.com"}, False)
    search.start()
    search.close()
    assert (search.found, search.saw_control) == ({"first@example.com", "second@example.com"}, True)


def test_a_marker_in_a_field_of_a_log_line_is_found() -> None:
    """As the process would write it."""
    search, log = LogSearch(), logging.Logger("app.example")
    log.addHandler(search)
    log.warning("claim.failed", extra={"fields": {"destination": "dst_1"}})
    assert search.found == set()
    log.warning("claim.failed", extra={"fields": {"destination": "ada@example.com"}})
    assert search.found == {"ada@example.com"}
