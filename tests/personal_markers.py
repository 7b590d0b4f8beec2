"""Markers of invented people, searched in everything that the tests of a run store or log.

The write-ahead log of the throw-away cluster has every row that any test writes, also those that are deleted
with its database. `WalSearch` reads each of its segments once, before Postgres removes it.
"""

import logging
import re
import struct
from pathlib import Path
from threading import Event, Thread

from app.telemetry import JsonLines

CONTROL = "qzmarkercontrol"
"""Written by the cluster itself: a search that does not find it finds nothing."""
# Each event of the tests names a person of example.com; `campaigns/attacks` plants words with `qzmarker` in
# every value of an event and in each member of every other body.
_MARKER = re.compile(rb"[\w.+%-]{0,40}@example\.com|qzmarker\w*")
_LITERALS = (b"@example.com", b"qzmarker")
# Tests write these in clear, to prove that a search finds what is there, and these mails are no people's.
_DELIBERATE = re.compile(rb"(?i)canary-7f3a@|qzmarkername|qzmarkercontrol")
_SEGMENT = 16 << 20


def markers_in(data: bytes) -> set[str]:
    """Return the markers in a text, without those that are written deliberately."""
    if not any(literal in data for literal in _LITERALS):
        return set()
    return {
        found[0].decode(errors="replace")
        for found in _MARKER.finditer(data)
        if not _DELIBERATE.search(found[0])
    }


class WalSearch(Thread):
    """Searches the segments of a cluster's write-ahead log while the tests run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True, name="write-ahead log")
        self.found: set[str] = set()
        self.searched: set[str] = set()
        self.saw_control = False
        self._folder = folder
        self._ended = Event()

    def run(self) -> None:
        while not self._ended.wait(1):
            self._search(complete=True)

    def close(self) -> None:
        """Search the rest; the server has stopped or is idle."""
        self._ended.set()
        self.join()
        self._search(complete=False)

    def _search(self, *, complete: bool) -> None:
        names = sorted(path.name for path in self._folder.glob("?" * 24) if self._is_begun(path))
        for name in names[:-1] if complete else names:
            if name not in self.searched:
                data = (self._folder / name).read_bytes()
                self.searched.add(name)
                self.found |= markers_in(data)
                self.saw_control |= CONTROL.encode() in data

    @staticmethod
    def _is_begun(path: Path) -> bool:
        """Return whether the first page belongs to this segment: Postgres renames old ones for later use."""
        high, low = int(path.name[8:16], 16), int(path.name[16:], 16)
        try:
            with path.open("rb") as file:
                header = file.read(16)
        except FileNotFoundError:
            return False
        return len(header) == 16 and struct.unpack("<8xQ", header)[0] == (high << 32) + low * _SEGMENT


class LogSearch(logging.Handler):
    """Collects the markers in log lines of the program that runs in a test's own process."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.found: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.found |= markers_in(self.format(record).encode())
