"""How far a backfill has come: offsets, numbers of rows and words, never a value; kept to go on from."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from app.commands.private_files import delete_private, write_private

_SPANS_KEPT: Final = 200


@dataclass(slots=True)
class Tally:
    """How many rows went one way, and the first spans of them as [from, to]."""

    rows: int = 0
    spans: list[list[int]] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Count one row; rows come in order."""
        self.rows += 1
        if self.spans and self.spans[-1][1] == number - 1:
            self.spans[-1][1] = number
        elif len(self.spans) < _SPANS_KEPT:
            self.spans.append([number, number])

    def told(self) -> str:
        """Return the rows as a person would list them."""
        spans = [str(a) if a == b else f"{a}-{b}" for a, b in self.spans]
        left = self.rows - sum(b - a + 1 for a, b in self.spans)
        return ", ".join(spans) + (f" and {left:,} more" if left else "")


@dataclass(slots=True)
class Progress:
    """What was answered for so far. `offset` is behind the last such row, `row` its number."""

    size: int
    changed_ns: int
    offset: int = 0
    row: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: dict[str, Tally] = field(default_factory=dict)
    warned: dict[str, Tally] = field(default_factory=dict)

    def reject(self, number: int, why: str) -> None:
        """Count a row that was not taken."""
        self.rejected.setdefault(why, Tally()).add(number)

    def warn(self, number: int, word: str) -> None:
        """Count a row that was taken with a warning."""
        self.warned.setdefault(word, Tally()).add(number)

    @property
    def rows(self) -> int:
        """How many rows were answered for."""
        return self.accepted + self.duplicates + sum(tally.rows for tally in self.rejected.values())

    def report(self, *, dry_run: bool) -> Iterator[str]:
        """Yield the lines of the report: numbers, words and rows."""
        taken = "would be accepted" if dry_run else "accepted"
        rejected = sum(tally.rows for tally in self.rejected.values())
        yield (
            f"{self.rows:,} rows: {self.accepted:,} {taken}, {self.duplicates:,} duplicates, "
            f"{rejected:,} rejected."
        )
        for title, tallies in (("Rejected", self.rejected), ("With a warning", self.warned)):
            for word, tally in sorted(tallies.items(), key=lambda one: -one[1].rows):
                yield f"  {title}: {word}: {tally.rows:,} (row {tally.told()})"


class Checkpoint:
    """The file in which a backfill's progress is kept between two runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: Path, file: Path, destination: str, mapping: str | None) -> "Checkpoint":
        """Return the bookmark of this file for this destination."""
        name = json.dumps([str(file.resolve()), destination, mapping])
        return cls(folder / "backfill" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json")

    def read(self) -> Progress | None:
        """Return what was kept, None where nothing was, or nothing that can be read."""
        try:
            kept: dict[str, Any] = json.loads(self.path.read_text())
            for name in ("rejected", "warned"):
                kept[name] = {word: Tally(**tally) for word, tally in kept[name].items()}
            return Progress(**kept)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def write(self, filled: Progress) -> None:
        """Keep it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.path, json.dumps(asdict(filled)))

    def forget(self) -> None:
        """Delete it: the file was answered for to its end."""
        delete_private(self.path)
