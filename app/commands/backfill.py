"""`backfill`: send the rows of a CSV or NDJSON file to `POST /events` with `priority=low`.

An interrupted run can be resumed. A checkpoint file stores an offset and row numbers, but no values. If the
response to a row was lost, the row is sent again and reported as a duplicate.
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

from app.commands.api.client import add_client_arguments, http_client
from app.commands.checkpoint import Checkpoint, Progress
from app.commands.failure import CommandFailed
from app.commands.import_rows import FileError, ImportRow, read_csv, read_ndjson
from app.domain.quantity import quantity
from app.settings import Settings

MAX_EVENTS: Final = 500
MAX_BYTES: Final = 1024 * 1024
RETRY_FOR_S: Final = 600.0
_FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@dataclass(frozen=True, slots=True)
class _Source:
    """The file to send. `size` is None for a stream, which cannot be resumed."""

    file: BinaryIO
    format: str
    size: int | None
    changed_ns: int


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a .csv, .ndjson or .jsonl file, or - for standard input"
    )
    parser.add_argument("--destination", help="default for rows without one: dst_…")
    parser.add_argument("--mapping", help="required if the destination has several: map_…")
    parser.add_argument("--format", choices=("csv", "ndjson"), help="default: by the file's extension")
    add_client_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="validate every row and store nothing")
    parser.add_argument(
        "--restart", action="store_true", help="ignore the checkpoint and start at the first row"
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Send the rows of the file.

    Return 0 if all were accepted, 1 if some were rejected or the run stopped, 2 if it could not begin.
    """
    with ExitStack() as stack:
        try:
            source = _open(options, stack)
            client = stack.enter_context(http_client(settings, options, timeout_s=60))
        except OSError as problem:
            print(f"{problem.filename}: {problem.strerror}", file=sys.stderr)
            return 2
        except CommandFailed as problem:
            print(problem, file=sys.stderr)
            return 2
        checkpoint = None
        if source.size is not None and not options.dry_run:
            checkpoint = Checkpoint.of(
                settings.data_dir, Path(options.file), options.destination, options.mapping
            )
        progress = Progress(source.size or 0, source.changed_ns)
        saved = None if checkpoint is None or options.restart else checkpoint.read()
        if saved is not None:
            if (saved.size, saved.changed_ns) != (progress.size, progress.changed_ns):
                print(
                    "The file has changed since part of it was sent. Use --restart to send all rows again.",
                    file=sys.stderr,
                )
                return 2
            progress = saved
            print(f"Resuming after row {progress.row:,}.", file=sys.stderr)
        return _send_all(Sender(client, options), source, progress, checkpoint)


def _send_all(sender: "Sender", source: _Source, progress: Progress, checkpoint: Checkpoint | None) -> int:
    line = _ProgressLine(source.size, progress)
    problem = None
    try:
        for batch in _batches(source, progress):
            if checkpoint is not None:
                # Write the checkpoint before the request too. A run that is interrupted during the request
                # can then be resumed.
                checkpoint.write(progress)
            sender.send(batch, progress)
            line.print()
    except (FileError, CommandFailed) as error:
        problem = str(error)
    finally:
        line.end()
        if checkpoint is not None and progress.rows:
            checkpoint.write(progress)
        print(*progress.report(dry_run=sender.dry_run), sep="\n")
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    if checkpoint is not None:
        checkpoint.delete()
    return 1 if progress.rejected else 0


def _open(options: argparse.Namespace, stack: ExitStack) -> _Source:
    path = Path(options.file)
    # Open the file first, because a missing file needs no format.
    file = sys.stdin.buffer if options.file == "-" else stack.enter_context(path.open("rb"))
    form = options.format or _FORMATS.get(path.suffix.lower())
    if form is None:
        raise CommandFailed("The format is unknown. Add --format csv or --format ndjson.")
    if options.file == "-":
        return _Source(file, form, None, 0)
    status = path.stat()
    # A named pipe has a path but cannot be resumed.
    size = status.st_size if path.is_file() else None
    return _Source(file, form, size, status.st_mtime_ns)


def _batches(source: _Source, progress: Progress) -> Iterator[list[ImportRow]]:
    """Yield the rows of each request."""
    if source.format == "csv":
        rows = read_csv(source.file, start=progress.offset, number=max(1, progress.row))
    else:
        rows = read_ndjson(source.file, start=progress.offset, number=progress.row)
    batch: list[ImportRow] = []
    size = 0
    try:
        for row in rows:
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


class Sender:
    """Sends rows to the API. If the API is not available, it sends the rows again later."""

    def __init__(self, client: httpx.Client, options: argparse.Namespace) -> None:
        self._client = client
        client.headers["Content-Type"] = "application/x-ndjson"
        self.dry_run: bool = options.dry_run
        query = {
            "priority": "low",
            "destination_id": options.destination,
            "mapping_id": options.mapping,
            "dry_run": "true" if options.dry_run else None,
        }
        self._query = {name: value for name, value in query.items() if value}

    def send(self, batch: Sequence[ImportRow], progress: Progress) -> None:
        """Send the rows of one request and count the results.

        Raises CommandFailed if the API refuses the request or is not available for ten minutes.
        """
        events = [row for row in batch if row.event is not None]
        results = self._post(b"\n".join(row.event or b"" for row in events)) if events else []
        if len(results) != len(events):
            raise CommandFailed(f"The API returned {len(results)} results for {len(events)} rows.")
        remaining = iter(results)
        for row in batch:
            if row.event is None:
                progress.reject(
                    row.number, f"{row.problem}{f' in column {row.column}' if row.column else ''}"
                )
            else:
                _count(row.number, next(remaining), progress)
        progress.offset, progress.row = batch[-1].end, batch[-1].number

    def _post(self, body: bytes) -> list[dict[str, Any]]:
        until, tries = time.monotonic() + RETRY_FOR_S, 0
        while True:
            tries += 1
            try:
                response = self._client.post("/events", params=self._query, content=body)
            except httpx.TransportError as error:
                wait, why = None, f"The API cannot be reached ({type(error).__name__})"
            else:
                if response.status_code in {200, 202, 207, 422}:
                    results = _results(response)
                    if results is not None:
                        return results
                if response.status_code not in {429, 500, 502, 503, 504}:
                    raise CommandFailed(_refusal(response))
                wait, why = _retry_after(response), f"The API keeps responding with {response.status_code}"
            if time.monotonic() > until:
                raise CommandFailed(f"{why}. Run the same command again to resume.")
            jitter = random.random()  # noqa: S311
            time.sleep(min(2.0**tries, 60) * jitter if wait is None else wait + jitter / 4)


def _count(number: int, result: dict[str, Any], progress: Progress) -> None:
    match result["status"]:
        case "accepted":
            progress.accepted += 1
        case "duplicate":
            progress.duplicates += 1
        case _:
            # The text contains the code, the reason and the path in the mapping. It contains no value of the
            # row.
            where = f" at {result['field']}" if result.get("field") else ""
            progress.reject(number, f"{result['code']} {result['reason']}{where}")
    for warning in result.get("warnings", ()):
        if warning["code"] != "event_id_derived":
            progress.warn(number, warning["code"] + (f" at {warning['field']}" if warning["field"] else ""))


def _results(response: httpx.Response) -> list[dict[str, Any]] | None:
    """Return the results of the events, or None if the response has none, such as one of a proxy."""
    try:
        results = response.json()["results"]
    except (ValueError, KeyError, TypeError):
        return None
    return results if isinstance(results, list) else None


def _refusal(response: httpx.Response) -> str:
    try:
        return f"The API refused the rows ({response.status_code}): {response.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"The response was {response.status_code}. Check the address in --api."


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return min(float(text), 300.0) if text.isdecimal() else None


class _ProgressLine:
    """Prints the progress.

    On a terminal it overwrites one line; elsewhere it prints a new line every 10 seconds.
    """

    _EVERY_S = 10.0

    def __init__(self, size: int | None, progress: Progress) -> None:
        self._size = size
        self._filled = progress
        self._began = time.monotonic()
        self._began_at = progress.offset, progress.rows
        self._terminal = sys.stderr.isatty()
        self._printed_at = self._began

    def print(self) -> None:
        now = time.monotonic()
        if not self._terminal and now - self._printed_at < self._EVERY_S:
            return
        self._printed_at = now
        sys.stderr.write(f"\r{self._line(now):<100}" if self._terminal else self._line(now) + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal and self._printed_at > self._began:
            sys.stderr.write("\n")

    def _line(self, now: float) -> str:
        progress, took = self._filled, max(now - self._began, 0.001)
        rate = (progress.rows - self._began_at[1]) / took
        line = f"{quantity(progress.rows, 'row')}, {rate:,.0f} per second"
        if not self._size:
            return line
        share = min(progress.offset / self._size, 1.0)
        done = progress.offset - self._began_at[0]
        left = (self._size - progress.offset) / done * took if done else 0
        return f"[{'#' * int(share * 30):<30}] {share:4.0%}  {line}, about {left:,.0f} s left"
