"""The progress of a backfill and the file that stores it, without values of events."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from app.commands.private_files import delete_private, write_private
from app.domain.quantity import quantity

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
                yield f"  {title}: {reason}: {tally.rows:,} (row {tally.describe()})"


class Checkpoint:
    """The file that stores the progress of a backfill between two runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: Path, file: Path, destination: str | None, mapping: str | None) -> "Checkpoint":
        """Return the checkpoint for importing a file to this destination and mapping."""
        name = json.dumps([str(file.resolve()), destination, mapping])
        return cls(folder / "backfill" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json")

    def read(self) -> Progress | None:
        """Return the stored progress, or None if there is none or it cannot be read."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except (FileNotFoundError, ValueError):  # a DecodeError, or text that is not UTF-8
            return None

    def write(self, progress: Progress) -> None:
        """Replace the stored progress atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.path, msgspec.json.encode(progress).decode())

    def delete(self) -> None:
        """Delete the file, because the backfill is complete."""
        delete_private(self.path)
