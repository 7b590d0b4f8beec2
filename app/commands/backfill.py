"""`backfill`: send the rows of a CSV or NDJSON file to `POST /events` with `priority=low`.

An interrupted run can be resumed. A checkpoint file stores an offset and row numbers, but no values. If the
response to a row was lost, the row is sent again and reported as a duplicate.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from app.commands import CommandFailed, WrongArguments
from app.commands.api_client import add_client_arguments, http_client, sentence_of
from app.commands.import_file import FileError, ImportFile, ImportRow, open_file
from app.commands.private_files import delete_private, write_private
from app.domain.quantity import quantity
from app.settings import Settings

RETRY_FOR_S: Final = 600.0
_MAX_SPANS: Final = 200


class Tally(msgspec.Struct, forbid_unknown_fields=True):
    """The number of rows with the same result.

    `spans` has up to 200 spans [from, to] of their row numbers.
    """

    rows: int = 0
    spans: list[list[int]] = []

    def add(self, number: int) -> None:
        """Count a row. Rows must be added in order."""
        self.rows += 1
        if self.spans and self.spans[-1][1] == number - 1:
            self.spans[-1][1] = number
        elif len(self.spans) < _MAX_SPANS:
            self.spans.append([number, number])

    def describe(self) -> str:
        """Return the rows as text, such as `2-4, 9 and 302 more`."""
        spans = [str(a) if a == b else f"{a}-{b}" for a, b in self.spans]
        left = self.rows - sum(b - a + 1 for a, b in self.spans)
        return ", ".join(spans) + (f" and {left:,} more" if left else "")


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """The results so far. `row` is the number of the last row that has a result. `offset` is the end of this
    row.

    `size` and `changed_ns` identify the version of the file.
    """

    size: int
    changed_ns: int
    offset: int = 0
    row: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: dict[str, Tally] = {}
    warned: dict[str, Tally] = {}

    def reject(self, number: int, why: str) -> None:
        """Count a rejected row."""
        self.rejected.setdefault(why, Tally()).add(number)

    def warn(self, number: int, code: str) -> None:
        """Count an accepted row with a warning."""
        self.warned.setdefault(code, Tally()).add(number)

    @property
    def rows(self) -> int:
        """Return the number of rows with a result."""
        return self.accepted + self.duplicates + sum(tally.rows for tally in self.rejected.values())

    def report(self, *, dry_run: bool) -> Iterator[str]:
        """Yield the lines to print at the end: the numbers of rows, and the rows of each reason."""
        accepted = "would be accepted" if dry_run else "accepted"
        rejected = sum(tally.rows for tally in self.rejected.values())
        yield (
            f"{quantity(self.rows, 'row')}: {self.accepted:,} {accepted}, "
            f"{quantity(self.duplicates, 'duplicate')}, "
            f"{rejected:,} rejected."
        )
        for title, tallies in (("Rejected", self.rejected), ("With a warning", self.warned)):
            for reason, tally in sorted(tallies.items(), key=lambda item: -item[1].rows):
                row = "row" if tally.rows == 1 else "rows"
                yield f"  {title}: {reason}: {tally.rows:,} ({row} {tally.describe()})"


def checkpoint_path(folder: Path, file: Path, destination: str | None, mapping: str | None) -> Path:
    """Return the path at which the progress of sending a file to this destination and mapping is stored."""
    name = json.dumps([str(file.resolve()), destination, mapping])
    return folder / "backfill" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"


def read_checkpoint(path: Path) -> Progress | None:
    """Return the stored progress, or None if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except (FileNotFoundError, ValueError):  # a DecodeError, or text that is not UTF-8
        return None


def write_checkpoint(path: Path, progress: Progress) -> None:
    """Replace the stored progress atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, msgspec.json.encode(progress).decode())


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
    """Send the rows of the file. Raises WrongArguments if it cannot begin.

    Return 0 if all were accepted, 1 if some were rejected or the run stopped.
    """
    with ExitStack() as stack:
        try:
            source = open_file(options.file, options.format, stack)
            client = stack.enter_context(http_client(settings, options, timeout_s=60))
        except OSError as problem:
            raise WrongArguments(f"{problem.filename}: {problem.strerror}") from None
        checkpoint = None
        if source.size is not None and not options.dry_run:
            checkpoint = checkpoint_path(
                settings.data_dir, Path(options.file), options.destination, options.mapping
            )
        progress = Progress(source.size or 0, source.changed_ns)
        saved = None if checkpoint is None or options.restart else read_checkpoint(checkpoint)
        if saved is not None:
            if (saved.size, saved.changed_ns) != (progress.size, progress.changed_ns):
                raise WrongArguments(
                    "The file has changed since part of it was sent. Use --restart to send all rows again."
                )
            progress = saved
            print(f"Resuming after row {progress.row:,}.", file=sys.stderr)
        return _send_all(Sender(client, options), source, progress, checkpoint)


def _send_all(sender: "Sender", source: ImportFile, progress: Progress, checkpoint: Path | None) -> int:
    line = _ProgressLine(source.size, progress)
    problem = None
    try:
        for batch in source.batches(start=progress.offset, number=progress.row):
            if checkpoint is not None:
                # Write the checkpoint before the request too. A run that is interrupted during the request
                # can then be resumed.
                write_checkpoint(checkpoint, progress)
            sender.send(batch, progress)
            line.print()
    except (FileError, CommandFailed) as error:
        problem = str(error)
    finally:
        line.end()
        if checkpoint is not None and progress.rows:
            write_checkpoint(checkpoint, progress)
        print(*progress.report(dry_run=sender.dry_run), sep="\n")
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    if checkpoint is not None:
        delete_private(checkpoint)
    return 1 if progress.rejected else 0


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
                progress.reject(row.number, row.problem or "")
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
                wait, why = None, f"The API cannot be reached ({type(error).__name__}: {error})"
            else:
                results = _member(response, "results")
                if response.status_code in {200, 202, 207, 422} and isinstance(results, list):
                    return results
                if response.status_code not in {429, 500, 502, 503, 504}:
                    raise CommandFailed(_refusal(response))
                wait, why = _retry_after(response), f"The API keeps responding with {response.status_code}"
            if tries == 3:
                print(f"{why}. Trying again for {RETRY_FOR_S / 60:.0f} minutes…", file=sys.stderr)
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


def _member(response: httpx.Response, name: str) -> Any:
    """Return a member of the response. Return None if it has none, such as the response of a proxy."""
    try:
        return response.json()[name]
    except (ValueError, KeyError, TypeError):
        return None


def _refusal(response: httpx.Response) -> str:
    if _member(response, "detail") is not None and (sentence := sentence_of(response.json())) is not None:
        return f"The API refused the rows ({response.status_code}): {sentence}"
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
