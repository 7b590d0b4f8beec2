"""What the page of match quality shows, in words. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.admin.match_quality.shadow import ShadowView
from app.console.wording import number, share
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS
from app.domain.match_quality.dedupe import DedupeFinding
from app.domain.match_quality.match_keys import MatchQuality
from app.domain.match_quality.reconciliation import ReconciledDay
from app.store.mappings import StoredMapping

HASH_FIELDS: Final = [
    (rule.field, FIELDS[rule.field].label) for rule in MATCH_KEYS if rule.hashed and rule.field in FIELDS
]
_MOST_ROWS: Final = 50
_LABELS: Final = {rule.type.value: FIELDS[rule.field].label for rule in MATCH_KEYS if rule.field in FIELDS}


def read_integer(text: str) -> int | None:
    """Return the number that a person typed, with or without separators of thousands; None if it is none."""
    digits = text.replace(",", "").replace(" ", "").replace("\u202f", "").replace("\xa0", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 13 else None


@dataclass(frozen=True, slots=True)
class DayView:
    """A day and an event name with its numbers."""

    day: str
    name: str
    kind: str
    accepted: str
    amazon_accepted: str
    lost: Sequence[tuple[str, str]]  # what Amazon cannot show, and how many


def days(items: Iterable[ReconciledDay]) -> list[DayView]:
    """Return the rows of the reconciliation, without days and kinds on which nothing happened."""
    found = []
    for row in list(items)[:_MOST_ROWS]:
        counts = row.counts
        lost = (
            ("without consent", counts.without_consent),
            ("repeated id", counts.repeated_ids),
            ("refused by Amazon", counts.amazon_refused),
            ("waiting", counts.waiting),
        )
        found.append(
            DayView(
                row.day.isoformat(),
                row.kind.event_name or "–",
                ", ".join(filter(None, (row.kind.event_source, row.kind.dataset_name))),
                number(counts.accepted),
                number(counts.amazon_accepted),
                [(what, number(count)) for what, count in lost if count],
            )
        )
    return found


def choices(items: Iterable[ReconciledDay]) -> list[tuple[str, str]]:
    """Return the days and event names that can be compared, newest first, each with its label."""
    names = dict.fromkeys((row.day, row.kind.event_name) for row in items if row.kind.event_name)
    return [(f"{day} {name}", f"{name} on {day}") for day, name in names]


@dataclass(frozen=True, slots=True)
class KeyOrigins:
    """How many events carry a match key, and where it was hashed."""

    label: str
    hashed_here: str
    came_hashed: str
    unhashed: str
    changed: int
    is_doubtful: bool


@dataclass(frozen=True, slots=True)
class GainView:
    """A path that would add a match key."""

    field: str
    label: str
    path: str
    share: str
    events: str
    sendable: int


@dataclass(frozen=True, slots=True)
class MappingPeople:
    """The match quality of a mapping."""

    id: str
    name: str
    events: int
    sendable: str
    without_key: int
    score: float
    keys: Sequence[KeyOrigins]
    gains: Sequence[GainView]
    refuses: bool


def mapping(stored: StoredMapping, found: MatchQuality) -> MappingPeople:
    """Return the match quality of a mapping in words."""
    return MappingPeople(
        stored.id,
        stored.name,
        found.events,
        share(round(found.sendable_share * found.events), found.events) if found.events else "–",
        round((1 - found.sendable_share) * found.events),
        found.score,
        [
            KeyOrigins(
                _LABELS.get(key, key),
                number(each.hashed_here),
                number(each.came_hashed),
                number(each.unhashed),
                each.changed,
                key in found.doubtful,
            )
            for key, each in found.coverage.items()
        ],
        [
            GainView(
                row.field,
                FIELDS[row.field].label,
                row.path,
                share(row.events_gained, found.events),
                number(row.events_gained),
                row.sendable_gained,
            )
            for row in found.what_if
        ],
        (stored.published or {}).get("prehashed") == "refuse",
    )


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault of event ids."""

    mapping: str
    mapping_id: str
    sentence: str
    remedy: str


def findings(found: Iterable[DedupeFinding], names: Mapping[str, str]) -> list[FaultView]:
    """Return the faults of event ids with the names of their mappings."""
    return [
        FaultView(
            names.get(each.mapping_id, "a mapping"),
            each.mapping_id,
            each.sentence,
            each.remedy,
        )
        for each in found
    ]


@dataclass(frozen=True, slots=True)
class ShadowLine:
    """The shadow of a mapping's draft."""

    id: str
    name: str
    result: ShadowView
    has_changes: bool
    until: str


def shadow(stored: StoredMapping, result: ShadowView) -> ShadowLine:
    """Return the shadow of a mapping. Without changes in the draft there is nothing to compare."""
    until = "" if result.ends_at is None else f"{result.ends_at:%H:%M} UTC"
    return ShadowLine(stored.id, stored.name, result, stored.draft != stored.published, until)
