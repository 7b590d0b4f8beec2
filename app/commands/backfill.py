"""`backfill`: the rows of a CSV or NDJSON file are posted as events, through the product's own front door.

The same road as every event: judged, hashed at the door, taken once. `priority=low` keeps them behind what is
live. The file is read in a stream and never copied; what is kept between two runs is a place in it and
numbers of rows. Rows whose answer got lost are sent again, and are duplicates then.

This file speaks HTTP to our own API only, and may use httpx as the command line does.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx

from app.commands.checkpoint import Checkpoint, Progress
from app.commands.import_rows import FileError, ImportRow, read_csv, read_ndjson
from app.settings import Settings

EVENTS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 1024 * 1024
PATIENCE_S: Final = 600.0
_FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


class _Stop(Exception):
    """It cannot go on; the text is one sentence for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What is read. `size` is None for a stream, which nobody can go back in."""

    file: BinaryIO
    format: str
    size: int | None
    changed_ns: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("file", help="a .csv, .ndjson or .jsonl file, or - for standard input")
    parser.add_argument("--destination", required=True, help="its id, dst_…, for rows that name none")
    parser.add_argument("--mapping", help="its id, map_…, where the destination has several")
    parser.add_argument("--format", choices=("csv", "ndjson"), help="where the file's name does not tell")
    parser.add_argument("--api", help="address of the API; default: the one on this machine")
    parser.add_argument("--key-file", type=Path, help="file with an API key; default: BOOTSTRAP_ADMIN_KEY")
    parser.add_argument("--dry-run", action="store_true", help="judge every row, and store nothing")
    parser.add_argument("--restart", action="store_true", help="begin at the first row again")


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Send the file's rows; 0 when every row was taken, 1 when some were not or it had to stop."""
    with ExitStack() as stack:
        try:
            source = _opened(asked, stack)
            key = _key(settings, asked.key_file)
        except (OSError, _Stop) as problem:
            words = problem if isinstance(problem, _Stop) else f"{problem.filename}: {problem.strerror}"
            print(words, file=sys.stderr)
            return 2
        bookmark = None
        if source.size is not None and not asked.dry_run:
            bookmark = Checkpoint.of(settings.data_dir, Path(asked.file), asked.destination, asked.mapping)
        filled = Progress(source.size or 0, source.changed_ns)
        kept = None if bookmark is None or asked.restart else bookmark.read()
        if kept is not None:
            if (kept.size, kept.changed_ns) != (filled.size, filled.changed_ns):
                print(
                    "The file has changed since it was sent in part: --restart sends it anew.",
                    file=sys.stderr,
                )
                return 2
            filled = kept
            print(f"Going on behind row {filled.row:,}.", file=sys.stderr)
        client = stack.enter_context(
            httpx.Client(
                base_url=asked.api or settings.local_url(settings.port),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"},
                timeout=60,
                trust_env=False,
            )
        )
        return _send_all(Sender(client, asked), source, filled, bookmark)


def _send_all(sender: "Sender", source: _Source, filled: Progress, bookmark: Checkpoint | None) -> int:
    bar = _Bar(source.size, filled)
    problem = None
    try:
        for batch in _batches(source, filled):
            if bookmark is not None:
                # Before the first request: a run that ends in the middle of it is gone on with, too.
                bookmark.write(filled)
            sender.send(batch, filled)
            bar.show()
    except (FileError, _Stop) as error:
        problem = str(error)
    finally:
        bar.end()
        if bookmark is not None and filled.rows:
            bookmark.write(filled)
        print(*filled.report(dry_run=sender.dry_run), sep="\n")
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    if bookmark is not None:
        bookmark.forget()
    return 1 if filled.rejected else 0


def _opened(asked: argparse.Namespace, stack: ExitStack) -> _Source:
    form = asked.format or _FORMATS.get(Path(asked.file).suffix.lower())
    if form is None:
        raise _Stop("Say with --format whether this is csv or ndjson.")
    if asked.file == "-":
        return _Source(sys.stdin.buffer, form, None, 0)
    path = Path(asked.file)
    file = stack.enter_context(path.open("rb"))
    told = path.stat()
    # A pipe has a name, too.
    size = told.st_size if path.is_file() else None
    return _Source(file, form, size, told.st_mtime_ns)


def _key(settings: Settings, file: Path | None) -> str:
    if file is not None:
        return file.read_text().strip()
    if settings.bootstrap_admin_key is None:
        raise _Stop("Name a file that holds an API key with the scope events:write: --key-file.")
    return settings.bootstrap_admin_key.get_secret_value()


def _batches(source: _Source, filled: Progress) -> Iterator[list[ImportRow]]:
    """Yield rows in portions of one request."""
    if source.format == "csv":
        rows = read_csv(source.file, start=filled.offset, number=max(1, filled.row))
    else:
        rows = read_ndjson(source.file, start=filled.offset, number=filled.row)
    batch: list[ImportRow] = []
    size = 0
    try:
        for row in rows:
            length = len(row.event or b"")
            if batch and (len(batch) == EVENTS_AT_ONCE or size + length > BYTES_AT_ONCE):
                yield batch
                batch, size = [], 0
            batch.append(row)
            size += length
    except FileError:
        # What stands before the row that cannot be read is still sent.
        if batch:
            yield batch
        raise
    if batch:
        yield batch


class Sender:
    """Posts portions, again and again until they are answered for."""

    def __init__(self, client: httpx.Client, asked: argparse.Namespace) -> None:
        self._client = client
        self.dry_run: bool = asked.dry_run
        self._query = {"destination_id": asked.destination, "priority": "low"}
        if asked.mapping:
            self._query["mapping_id"] = asked.mapping
        if asked.dry_run:
            self._query["dry_run"] = "true"

    def send(self, batch: Sequence[ImportRow], filled: Progress) -> None:
        """Send a portion and count its answers. Raises _Stop; what was counted then stays right."""
        events = [row for row in batch if row.event is not None]
        results = self._post(b"\n".join(row.event or b"" for row in events)) if events else []
        if len(results) != len(events):
            raise _Stop("The API answered for another number of rows than were sent.")
        answers = iter(results)
        for row in batch:
            if row.event is None:
                filled.reject(row.number, f"{row.problem}{f' in column {row.column}' if row.column else ''}")
            else:
                _count(row.number, next(answers), filled)
        filled.offset, filled.row = batch[-1].end, batch[-1].number

    def _post(self, body: bytes) -> list[dict[str, Any]]:
        until, tries = time.monotonic() + PATIENCE_S, 0
        while True:
            tries += 1
            try:
                answer = self._client.post("/events", params=self._query, content=body)
            except httpx.TransportError as error:
                wait, why = None, f"The API cannot be reached ({type(error).__name__})"
            else:
                if answer.status_code in {200, 202, 207, 422} and (told := _results(answer)) is not None:
                    return told
                if answer.status_code not in {429, 500, 502, 503, 504}:
                    raise _Stop(_refusal(answer))
                wait, why = _retry_after(answer), f"The API keeps answering {answer.status_code}"
            if time.monotonic() > until:
                raise _Stop(f"{why}. Run the same command again to go on.")
            # As long as it was asked to, and a little longer: not everybody in the same instant.
            luck = random.random()  # noqa: S311
            time.sleep(min(2.0**tries, 60) * luck if wait is None else wait + luck / 4)


def _count(number: int, result: dict[str, Any], filled: Progress) -> None:
    match result["status"]:
        case "accepted":
            filled.accepted += 1
        case "duplicate":
            filled.duplicates += 1
        case _:
            # Code, reason and the path in the mapping: nothing of the row's.
            where = f" at {result['field']}" if result.get("field") else ""
            filled.reject(number, f"{result['code']} {result['reason']}{where}")
    for warning in result.get("warnings", ()):
        if warning["code"] != "event_id_derived":
            filled.warn(number, warning["code"] + (f" at {warning['field']}" if warning["field"] else ""))


def _results(answer: httpx.Response) -> list[dict[str, Any]] | None:
    try:
        results = answer.json()["results"]
    except (ValueError, KeyError, TypeError):
        return None
    return list(results) if isinstance(results, list) else None


def _refusal(answer: httpx.Response) -> str:
    try:
        return f"The API refused with {answer.status_code}: {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"The API refused with {answer.status_code}; is --api the address of this product?"


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 300.0) if text.isdecimal() else None


class _Bar:
    """A line that says how far it is: rewritten in place at a terminal, else written now and then."""

    _EVERY_S = 10.0

    def __init__(self, size: int | None, filled: Progress) -> None:
        self._size = size
        self._filled = filled
        self._began = time.monotonic()
        self._began_at = filled.offset, filled.rows
        self._terminal = sys.stderr.isatty()
        self._shown = self._began

    def show(self) -> None:
        now = time.monotonic()
        if not self._terminal and now - self._shown < self._EVERY_S:
            return
        self._shown = now
        sys.stderr.write(f"\r{self._line(now):<100}" if self._terminal else self._line(now) + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal and self._shown > self._began:
            sys.stderr.write("\n")

    def _line(self, now: float) -> str:
        filled, took = self._filled, max(now - self._began, 0.001)
        rate = (filled.rows - self._began_at[1]) / took
        line = f"{filled.rows:,} rows, {rate:,.0f} a second"
        if not self._size:
            return line
        share = min(filled.offset / self._size, 1.0)
        done = filled.offset - self._began_at[0]
        left = (self._size - filled.offset) / done * took if done else 0
        return f"[{'#' * int(share * 30):<30}] {share:4.0%}  {line}, about {left:,.0f} s left"
