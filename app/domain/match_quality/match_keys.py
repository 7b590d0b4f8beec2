"""How well the recent events of a mapping identify people, and what another match key would add.

The events are samples without texts (`app.domain.observed.schema_sample`). "Sendable" means that an event
has at least one match key. Amazon reports no match rate, so none is computed: the score says what was sent,
not what Amazon found. The coverage counts the stored metadata of the newest accepted events instead.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from app.domain.batch import EventMetadata
from app.domain.conversion.convert import ConversionPlan
from app.domain.conversion.results import Rules, Step
from app.domain.event import Event
from app.domain.identity.keys import ALREADY_HASHED, MATCH_KEYS
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, without_fingerprints
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.names import SYNONYMS
from app.domain.suggestions.observations import ObservedPaths, Written, observe, place_of
from app.domain.suggestions.people import candidates, sources_of
from app.domain.suggestions.trial import Trial

# What a match key adds to the score of an event. Amazon publishes no weights. It advises more identifiers,
# and an address or a phone number identifies one person, which a name or a city does not.
WEIGHTS: Final[Mapping[str, float]] = {
    "EMAIL": 0.5,
    "PHONE": 0.4,
    "MAID": 0.4,
    **dict.fromkeys(("RAMP_ID", "MATCH_ID", "REAL_ID", "MERKLE_ID", "KANTAR_ID"), 0.3),
    "FIP": 0.1,
    "ADDRESS": 0.2,
    "POSTAL": 0.1,
    **dict.fromkeys(("FIRST_NAME", "LAST_NAME", "CITY", "STATE"), 0.05),
}
FORMULA: Final = (
    "Sendable identity = 10 × the mean over the events of min(1, the sum of the weights of their keys). "
    + "Weights: "
    + ", ".join(f"{key} {weight:g}" for key, weight in WEIGHTS.items())
    + ". A key that came hashed by an unknown rule counts half. This is no match rate: Amazon reports none."
)
_UNKNOWN_RULE: Final = 0.5
_FIELDS: Final = tuple(rule for rule in MATCH_KEYS if rule.field in SYNONYMS)


@dataclass(slots=True)
class KeyCoverage:
    """The events that carry a match key: hashed here, hashed before they came, or sent unhashed.

    `changed` counts values that lost characters when they were normalised, such as an umlaut. Another system
    that keeps these characters makes another hash of them.
    """

    hashed_here: int = 0
    came_hashed: int = 0
    unhashed: int = 0
    changed: int = 0

    @property
    def total(self) -> int:
        return self.hashed_here + self.came_hashed + self.unhashed


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What a source would add to a match key: events that gain the key, and those that had no key at all."""

    field: str
    path: str
    source: Written
    events_gained: int
    share_gained: float
    sendable_gained: int


@dataclass(frozen=True, slots=True)
class MatchQuality:
    """The match keys of the sampled events of a mapping.

    `doubtful_keys` mostly came hashed, by a rule that the mapping does not declare.
    """

    events: int = 0
    coverage: Mapping[str, KeyCoverage] = field(default_factory=dict)
    sendable_share: float = 0.0
    score: float = 0.0
    what_if: Sequence[WhatIf] = ()
    doubtful_keys: Sequence[str] = ()


# Samples that differ in more than texts, each with the match keys of its events if they are known.
_Alike = Counter[tuple[SchemaSample, frozenset[str] | None]]
# The number of events that are alike, the match keys that they carry, and a synthetic one of them.
_Events = tuple[int, frozenset[str], dict[str, Any]]


def match_quality(
    groups: Sequence[SampleGroup],
    document: Mapping[str, Any],
    mapping: CompiledMapping,
    rules: Rules,
    *,
    now: datetime,
) -> MatchQuality:
    """Return the match keys of the sampled events under the published mapping, whose rules are given."""
    changed: Counter[str] = sum((Counter(group.changed) for group in groups), Counter())
    fields = document.get("fields") or {}
    alike = _alike(groups, rules.mapping_version)
    if not alike:
        return MatchQuality()
    contents = [synthetic_event(sample, now) for sample, _ in alike]
    # Kinds say already that a phone number is possible in its country. The invented ones are American.
    trial = Trial(tuple(contents), ("US",) * len(contents), rules.profile, invented=True)
    judged = {
        rule.type.value: trial.usable(rule.field, fields[rule.field])
        for rule in MATCH_KEYS
        if fields.get(rule.field) is not None
    }
    events = []
    for place, ((_, known), times) in enumerate(alike.items()):
        usable = frozenset(key for key, each in judged.items() if each[place])
        events.append((times, usable if known is None else known, contents[place]))
    total = alike.total()
    coverage, points = _coverage(events, mapping, rules, now)
    for key, times in changed.items():
        if key in coverage:
            coverage[key].changed = times
    sendable = sum(times for times, keys, _ in events if keys)
    doubtful = [
        key
        for key, found in coverage.items()
        if mapping.prehashed == "unknown" and found.came_hashed * 2 > found.total
    ]
    what_if = sorted(
        _what_if(events, observe(contents), trial, mapping),
        key=lambda row: (-row.sendable_gained, -row.events_gained, row.field, row.path),
    )
    score = round(10 * points / total, 1)
    return MatchQuality(total, coverage, round(sendable / total, 4), score, what_if, doubtful)


def _alike(groups: Sequence[SampleGroup], version: int) -> _Alike:
    """Count the events that are alike. The match keys that a version made are known."""
    counted = _Alike()
    for group in groups:
        known = frozenset(group.match_keys) if group.accepted and group.version == version else None
        for sample, times in group.samples.items():
            counted[without_fingerprints(sample), known] += times
    return counted


def _coverage(
    events: Sequence[_Events], mapping: CompiledMapping, rules: Rules, now: datetime
) -> tuple[dict[str, KeyCoverage], float]:
    """Return the coverage by match key in Amazon's order, and the sum of the events' points."""
    plan = ConversionPlan(mapping, rules)
    coverage = {rule.type.value: KeyCoverage() for rule in MATCH_KEYS}
    points = 0.0
    for times, keys, content in events:
        trace: list[Step] = []
        event = Event("sample", rules.destination_id, rules.mapping_id, content)
        plan.convert(event, "sample", now, trace=trace)
        hashed_before = {step.field for step in trace if step.rule == ALREADY_HASHED}
        worth = 0.0
        for rule in MATCH_KEYS:
            key = rule.type.value
            if key not in keys:
                continue
            found, weight = coverage[key], WEIGHTS[key]
            if not rule.hashed:
                found.unhashed += times
            elif rule.field in hashed_before:
                found.came_hashed += times
                weight *= 1 if mapping.prehashed == "amazon" else _UNKNOWN_RULE
            else:
                found.hashed_here += times
            worth += weight
        points += min(1.0, worth) * times
    return {key: found for key, found in coverage.items() if found.total}, points


def _what_if(
    events: Sequence[_Events], found: ObservedPaths, trial: Trial, mapping: CompiledMapping
) -> Iterator[WhatIf]:
    """Yield the sources that would give events a match key that they lack."""
    total = sum(times for times, *_ in events)
    for rule in _FIELDS:
        present = mapping.by_field.get(rule.field)
        mapped = () if present is None else present.paths
        fitting = [each for each in candidates(rule.field, found, invented=True) if each.path not in mapped]
        for source in sources_of(rule.field, found, fitting):
            if (place := place_of(source)) in mapped:
                continue
            gaining = [
                (times, keys)
                for (times, keys, _), usable in zip(events, trial.usable(rule.field, source), strict=True)
                if usable and rule.type.value not in keys
            ]
            gained = sum(times for times, _ in gaining)
            if gained:
                sendable = sum(times for times, keys in gaining if not keys)
                yield WhatIf(rule.field, place, source, gained, round(gained / total, 4), sendable)


def added(document: Mapping[str, Any], row: WhatIf) -> dict[str, Any]:
    """Return the document with a row of the what-if table, behind the field's present source, if any."""
    fields = dict(document.get("fields") or {})
    present = fields.get(row.field)
    if present is None:
        fields[row.field] = row.source
    elif isinstance(present, dict) and "first_of" in present:
        fields[row.field] = {**present, "first_of": [*present["first_of"], row.source]}
    else:
        outer = {"default", "on_error"}  # members of `first_of` itself
        inner = {k: v for k, v in present.items() if k not in outer} if isinstance(present, dict) else present
        rest = {k: v for k, v in present.items() if k in outer} if isinstance(present, dict) else {}
        fields[row.field] = {"first_of": [inner, row.source], **rest}
    return {**document, "fields": fields}


# --- Match keys of the newest accepted events ------------------------------------------------------

MOST_COVERAGE_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class MatchKeyShare:
    """The number of events that contain a match key."""

    match_key: str
    events: int
    share: float


@dataclass(frozen=True, slots=True)
class DroppedMatchKeys:
    """The number of events from which a match key was left out for one reason."""

    match_key: str
    reason: str
    events: int


@dataclass(frozen=True, slots=True)
class MatchKeyCoverage:
    """How many of the newest accepted events contain each match key."""

    events: int
    match_keys: Sequence[MatchKeyShare]
    dropped: Sequence[DroppedMatchKeys]


def match_key_coverage(events_metadata: Iterable[EventMetadata]) -> MatchKeyCoverage:
    """Count the match keys and the dropped match keys of the first thousand events."""
    newest = list(islice(events_metadata, MOST_COVERAGE_EVENTS))
    carried = Counter(key for metadata in newest for key in metadata.match_keys)
    dropped = Counter(pair for metadata in newest for pair in metadata.dropped_keys)
    keys = [rule.type.value for rule in MATCH_KEYS if rule.type.value in carried]
    return MatchKeyCoverage(
        len(newest),
        [MatchKeyShare(key, carried[key], round(carried[key] / len(newest), 4)) for key in keys],
        [DroppedMatchKeys(*pair, count) for pair, count in sorted(dropped.items())],
    )
