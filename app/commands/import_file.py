"""The file of a backfill: read the rows of a CSV or NDJSON file as events, without loading the complete file.

The header of a CSV file has the paths of the event's fields, such as `user.email`. If the values are not
texts, `:number`, `:boolean` or `:json` follows the path. An empty cell means that the field is absent. A line
of an NDJSON file is an event and is not changed. A problem names the row and the column, but never a value.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import isinf
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from app.commands import WrongArguments
from app.domain.mapping.paths import parse_path

MAX_EVENTS: Final = 500  # of one request
MAX_BYTES: Final = 1024 * 1024
MAX_LINE_BYTES: Final = 1024 * 1024
_FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_BOM: Final = b"\xef\xbb\xbf"
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)


class FileError(Exception):
    """The rest of the file cannot be read. The text names row and column, but no value."""


class _LineSkipped(ValueError):
    """A line cannot be read. The text is the code of its problem."""


@dataclass(frozen=True, slots=True, repr=False)
class ImportRow:
    """A row of the file: an event as JSON bytes, or the code of a problem and the CSV column that caused it.

    `number` is the row number from 1, and the CSV header counts too, as in a spreadsheet. `end` is the offset
    at which the next row begins.
    """

    number: int
    end: int
    event: bytes | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class CsvColumn:
    """A column of a CSV file: `steps` is its path in the event, `read` parses a cell or raises.

    `problem` is the code for a cell that cannot be parsed.
    """

    name: str
    steps: tuple[str, ...]
    read: Callable[[str], Any]
    problem: str


def _number(cell: str) -> msgspec.Raw:
    """Return the number with all its digits."""
    if not _NUMBER.fullmatch(cell.strip()) or len(cell) > 64 or isinf(float(cell)):
        raise ValueError
    return msgspec.Raw(cell.strip().encode())


def _boolean(cell: str) -> bool:
    return {"true": True, "false": False}[cell.strip().lower()]


_KINDS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "": (str, ""),
    "string": (str, ""),
    "number": (_number, "cell_not_a_number"),
    "boolean": (_boolean, "cell_not_a_boolean"),
    "json": (partial(msgspec.json.decode, type=msgspec.Raw), "cell_not_json"),
}


def read_header(cells: Sequence[str]) -> tuple[CsvColumn, ...]:
    """Return the columns of a CSV header. Raises FileError for an invalid or repeated path."""
    columns: list[CsvColumn] = []
    for number, cell in enumerate(cells, start=1):
        path, colon, kind = cell.strip().rpartition(":")
        if not colon:
            path, kind = cell.strip(), ""
        steps = parse_path(path)
        if kind not in _KINDS or steps is None or not all(isinstance(step, str) for step in steps):
            raise FileError(
                f"Row 1, column {number}: the header must be a path such as user.email, "
                "optionally followed by :number, :boolean or :json."
            )
        columns.append(CsvColumn(path, tuple(map(str, steps)), *_KINDS[kind]))
    for index, column in enumerate(columns):
        for other in columns[:index]:
            shorter = min(len(column.steps), len(other.steps))
            if column.steps[:shorter] == other.steps[:shorter]:
                raise FileError(f"Row 1: the columns {other.name} and {column.name} name the same field.")
    return tuple(columns)


def read_csv(file: BinaryIO, *, start: int = 0, number: int = 0) -> Iterator[ImportRow]:
    """Yield the rows after the header. To resume, give the offset `start` at which row `number` ends.

    Raises FileError for an invalid header and for misplaced quotes.
    """
    lines = _Lines(file)
    csv.field_size_limit(MAX_LINE_BYTES)
    try:
        header = next(csv.reader(iter(lines.next_text, ""), strict=True), None)
    except (_LineSkipped, csv.Error):
        raise FileError("Row 1: the header is not UTF-8, is too long, or has invalid quotes.") from None
    if header is None:
        raise FileError("The file is empty; the first row of a CSV file names its columns.")
    columns = read_header(header)
    if start:
        lines.seek(start)
    number = max(1, number)  # the header is row 1
    reader = csv.reader(iter(lines.next_text, ""), strict=True)
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _LineSkipped as skipped:
            yield ImportRow(number, lines.offset, None, str(skipped))
        except csv.Error:
            raise FileError(
                f"Row {number}: invalid quotes. This row and the rows after it were not sent."
            ) from None
        else:
            if cells:
                yield _row(number, lines.offset, cells, columns)


def _row(number: int, end: int, cells: Sequence[str], columns: Sequence[CsvColumn]) -> ImportRow:
    if len(cells) != len(columns):
        return ImportRow(number, end, None, "row_has_other_columns")
    event: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=True):
        if cell == "":
            continue
        try:
            value = column.read(cell)
        except (ValueError, KeyError, RecursionError):
            return ImportRow(number, end, None, f"{column.problem} in column {column.name}")
        parent = event
        for step in column.steps[:-1]:
            parent = parent.setdefault(step, {})
        parent[column.steps[-1]] = value
    return ImportRow(number, end, msgspec.json.encode(event))


def read_ndjson(file: BinaryIO, *, start: int = 0, number: int = 0) -> Iterator[ImportRow]:
    """Yield the lines of the file. To resume, give the offset `start` at which line `number` ends."""
    lines = _Lines(file)
    if start:
        lines.seek(start)
    while True:
        number += 1
        try:
            line = lines.next_line()
        except _LineSkipped as skipped:
            yield ImportRow(number, lines.offset, None, str(skipped))
            continue
        if not line:
            return
        if line.strip():
            yield ImportRow(number, lines.offset, line.strip())


class _Lines:
    """Reads the lines of a file. `offset` is the position after the last line that was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = 0

    def next_text(self) -> str:
        """Return the next line as text."""
        try:
            return self.next_line().decode()
        except UnicodeDecodeError:
            raise _LineSkipped("row_not_utf8") from None

    def next_line(self) -> bytes:
        """Return the next line, or nothing at the end of the file. Skips a line that is too long."""
        line = self._file.readline(MAX_LINE_BYTES + 1)
        first = self.offset == 0
        self.offset += len(line)
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(MAX_LINE_BYTES)
                self.offset += len(line)
            raise _LineSkipped("row_too_long")
        return line.removeprefix(_BOM) if first else line

    def seek(self, offset: int) -> None:
        self._file.seek(offset)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class ImportFile:
    """An open file of rows. `size` is None for a stream, which cannot be resumed."""

    file: BinaryIO
    format: str
    size: int | None
    changed_ns: int

    def batches(self, *, start: int, number: int) -> Iterator[list[ImportRow]]:
        """Yield the rows of each request, after the row `number`, which ends at the offset `start`."""
        read = read_csv if self.format == "csv" else read_ndjson
        batch: list[ImportRow] = []
        size = 0
        try:
            for row in read(self.file, start=start, number=number):
                length = len(row.event or b"")
                if batch and (len(batch) == MAX_EVENTS or size + length > MAX_BYTES):
                    yield batch
                    batch, size = [], 0
                batch.append(row)
                size += length
        except FileError:
            # A row cannot be read. Send the rows before it first.
            if batch:
                yield batch
            raise
        if batch:
            yield batch


def open_file(name: str, form: str | None, stack: ExitStack) -> ImportFile:
    """Open a file, or standard input for `-`, until `stack` closes it. Raises WrongArguments and OSError."""
    path = Path(name)
    # Open the file first, because a missing file needs no format.
    file = sys.stdin.buffer if name == "-" else stack.enter_context(path.open("rb"))
    form = form or _FORMATS.get(path.suffix.lower())
    if form is None:
        raise WrongArguments("The format is unknown. Add --format csv or --format ndjson.")
    if name == "-":
        return ImportFile(file, form, None, 0)
    status = path.stat()
    # A named pipe has a path but cannot be resumed.
    size = status.st_size if path.is_file() else None
    return ImportFile(file, form, size, status.st_mtime_ns)
