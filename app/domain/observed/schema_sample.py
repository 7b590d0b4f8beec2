"""Samples of events: the paths of an event, and the kind of value at each path, without its text.

After a request, the service keeps only samples of its events. The samples show the event schema, and mapping
drafts are tested on them. A kind is a format such as "time" or "email", which is no personal data. The
members of closed lists, such as a currency, are recorded as they are. Of other short texts only a
fingerprint is recorded. A member is left out with everything in it if its name could be a value, such as an
address or a number. See ADR 0016.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from app.domain.batch import compress, expand
from app.domain.conversion.consent import CONSENT_WORDS
from app.domain.conversion.numbers import is_number, number_text
from app.domain.identity.placeholders import NOTHING_WORDS, is_placeholder_or_digest
from app.domain.mapping.paths import EACH, UNREACHABLE, Step, parse_path, walk
from app.domain.mapping.time_steps import pattern_of
from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.value_kinds import LISTED, PATTERN_TIMES, ValueKind, kind_of

MAX_PATHS: Final = 200
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 64  # keys of a larger object are probably values
MAX_ITEMS: Final = 5
MORE_ITEMS: Final = f"[{MAX_ITEMS}]"
EVENT_ID: Final = "=event_id"  # counted like the values of a path: the mapped id that Amazon gets
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"[0-9]{5}", re.ASCII)
_ROUTING_IDS: Final = frozenset({"destination_id", "mapping_id"})


class SampleEntry(NamedTuple):
    """A path and the kind of its value.

    `word` is the value itself if it is a member of a closed list or a placeholder, a fingerprint for another
    short text or number, else None.
    """

    path: str
    kind: ValueKind
    word: str | bytes | None = None


SchemaSample = tuple[SampleEntry, ...]
Fingerprint = Callable[[str], bytes]


def take_sample(
    content: dict[str, Any],
    mapped: Iterable[str] = (),
    *,
    now: datetime,
    fingerprint: Fingerprint | None = None,
    note_value: Callable[[str, str], None] | None = None,
) -> SchemaSample:
    """Return the sample of an event, in time linear in the event's size.

    The sample has at most 200 paths, and in addition the paths of `mapped`, whatever their names are.
    The kind of a time depends on `now`. `note_value` gets the path and the text of each text and number.
    """
    found: dict[str, Any] = {}
    _walk(content, "", 0, found, now)
    for path in mapped:
        if path not in found:
            steps = parse_path(path) or (EACH,)
            value = None if EACH in steps or -1 in steps else walk(content, steps)
            is_walked = type(value) in (dict, list) and any(each.startswith(path) for each in found)
            if value is not None and value is not UNREACHABLE and not is_walked:
                found[path] = value
    entries = []
    for path, value in found.items():
        kind = kind_of(value, now)
        text = value if type(value) is str else number_text(value) if is_number(value) else None
        if text is not None and note_value is not None:
            note_value(path, text)
        entries.append(SampleEntry(path, kind, _word(value, text, kind, fingerprint)))
    return tuple(entries)


def without_fingerprints(sample: SchemaSample) -> SchemaSample:
    """Return the sample that all samples have which differ only in the fingerprints of their texts."""
    return tuple([entry if type(entry.word) is str else entry._replace(word=None) for entry in sample])


MAX_FINGERPRINTED: Final = 40  # characters
_DIGITS: Final = re.compile(r"(?:[^0-9]*[0-9]){8}")  # as many as a phone number has


def _word(
    value: Any, text: str | None, kind: ValueKind, fingerprint: Fingerprint | None
) -> str | bytes | None:
    if text is None:
        return None if kind is not ValueKind.BOOLEAN else "true" if value else "false"
    if kind in PATTERN_TIMES:
        return pattern_of(text)
    is_listed = kind in LISTED and (text.isupper() or text.islower())
    if is_listed or (text is value and text.lower() in CONSENT_WORDS):
        return text
    if kind is ValueKind.UNUSABLE_TRAIT and (text in NOTHING_WORDS or is_placeholder_or_digest(text) is None):
        return text  # a word such as null, zeros, or the digest of nothing, but no template
    if fingerprint is None or len(text) > MAX_FINGERPRINTED or "@" in text or _DIGITS.match(text):
        return None
    return fingerprint(text)


def may_be_unsampled(path: str, sample: SchemaSample) -> bool:
    """Return whether an event may have this path although its sample does not."""
    steps = parse_path(path) or ()
    # The members of an object or list that is itself in the sample were left out.
    closed = [entry.path for entry in sample if entry.kind in _CONTAINERS]
    # Without such a list, the sample has all members of each list.
    doubtful = [step for step in steps if is_unsampled(step) and (closed or isinstance(step, str))]
    if len(sample) >= MAX_PATHS or len(steps) > MAX_DEPTH or doubtful:
        return True
    return any(path == each or is_below(path, each) for each in closed)


def is_below(path: str, container: str) -> bool:
    """Return whether a path leads to a member of what another path leads to."""
    return path.startswith((f"{container}.", f"{container}["))


def is_unsampled(step: Step) -> bool:
    """Return whether a sample may leave out what a step of a path leads to."""
    # The members of a list that are left out are like the others, or its kind is `LIST`.
    return not _is_plain(step) if isinstance(step, str) else isinstance(step, int) and step >= MAX_ITEMS


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and not _LONG_NUMBER.search(name)


def _is_uniform(members: list[Any], now: datetime) -> bool:
    """Return whether the members that a sample leaves out have the kinds of the last member that it has."""
    if len(members) > _MOST_COMPARED:
        return False
    kinds = [_kinds(member, now) for member in members[MAX_ITEMS - 1 :]]
    return all(each == kinds[0] and not _CONTAINERS & set(each.values()) for each in kinds)


def _kinds(member: Any, now: datetime) -> dict[str, ValueKind]:
    if type(member) is dict and len(member) <= MAX_MEMBERS:
        return {name: kind_of(value, now) for name, value in member.items()}
    return {"": kind_of(member, now)}


_MOST_COMPARED: Final = 20
_CONTAINERS: Final = frozenset({ValueKind.OBJECT, ValueKind.LIST})


def _walk(value: Any, path: str, depth: int, found: dict[str, Any], now: datetime) -> None:
    if len(found) >= MAX_PATHS:
        return
    if type(value) is dict and value and len(value) <= MAX_MEMBERS and depth < MAX_DEPTH:
        for name, member in value.items():
            if _is_plain(name) and (depth or name not in _ROUTING_IDS):
                _walk(member, f"{path}.{name}" if path else name, depth + 1, found, now)
    elif type(value) is list and value and depth < MAX_DEPTH:
        if len(value) > MAX_ITEMS:
            # Says that the sample lacks members, and whether they may be of other kinds.
            found[f"{path}{MORE_ITEMS}" if _is_uniform(value, now) else path] = value
        for index, member in enumerate(value[:MAX_ITEMS]):
            _walk(member, f"{path}[{index}]", depth + 1, found, now)
    elif path:
        found[path] = value


# --- Storage --------------------------------------------------------------------------------------

_MAX_DECOMPRESSED: Final = 16 * 1024 * 1024
_encoder: Final = msgspec.msgpack.Encoder()


class _Packed(msgspec.Struct, array_like=True):
    """Each name is stored once: `rows` and `different` have the numbers of names."""

    names: list[str]
    rows: list[tuple[int, tuple[int, ...]]]  # the number of events; path, kind and word of each entry
    different: list[tuple[int, int]]  # path, and how many of its values were new
    counter: int
    version: int
    accepted: bool
    match_keys: tuple[str, ...]
    generation: int  # of the fingerprints
    changed: list[tuple[int, int]] = []  # match key, and how many of its values lost characters
    facts: tuple[str, ...] = ()


_decoder: Final = msgspec.msgpack.Decoder(_Packed)


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """Samples that were written together, with their numbers of events.

    All are of events that `version` of the mapping accepted, with these `match_keys`, or rejected. `facts`
    has what `sent_facts` says of accepted events, and `refused_fields` of rejected ones, the same of each
    event; empty if it is not known.
    `different` has the number of values of each path that were new to the counter `counter`. A counter counts
    in the memory of one process. `changed` has, by match key, the values that normalising shortens.
    """

    samples: Mapping[SchemaSample, int]
    different: Mapping[str, int]
    counter: int = 0
    version: int = 0
    accepted: bool = True
    match_keys: tuple[str, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)
    facts: tuple[str, ...] = ()


def pack(group: SampleGroup, fingerprints: Fingerprints) -> bytes:
    """Encode and compress a group. Fingerprints are stored as their places in `fingerprints`."""
    names: dict[str, int] = {}

    def number(name: str) -> int:
        return names.setdefault(name, len(names))

    def word(entry: SampleEntry) -> int:
        if isinstance(entry.word, str):
            return 0 if fingerprints.is_closed(entry.path) else number(entry.word) + 1
        return 0 if entry.word is None else fingerprints.place(entry.path, entry.word)

    rows: Counter[tuple[int, ...]] = Counter()
    for sample, times in group.samples.items():
        row = [n for entry in sample for n in (number(entry.path), number(entry.kind), word(entry))]
        rows[tuple(row)] += times
    different = [(number(path), count) for path, count in group.different.items()]
    changed = [(number(key), count) for key, count in group.changed.items()]
    samples = [(times, row) for row, times in rows.items()]
    packed = _Packed(
        list(names),
        samples,
        different,
        counter=group.counter,
        version=group.version,
        accepted=group.accepted,
        match_keys=group.match_keys,
        generation=fingerprints.generation,
        changed=changed,
        facts=group.facts,
    )
    return compress(_encoder.encode(packed))


def read(stored: bytes, fingerprints: Fingerprints) -> SampleGroup | None:
    """Return the group that `pack` encoded; None if it is damaged."""
    try:
        packed = _decoder.decode(expand(stored, _MAX_DECOMPRESSED))
        names, is_current = packed.names, packed.generation == fingerprints.generation

        def entry(path: int, kind: int, word: int) -> SampleEntry:
            if word > 0:
                found: str | bytes | None = names[word - 1]
            else:
                found = fingerprints.find(names[path], word) if is_current else None
            return SampleEntry(names[path], ValueKind(names[kind]), found)

        samples: Counter[SchemaSample] = Counter()  # samples can be equal after fingerprints were deleted
        for times, row in packed.rows:
            triples = zip(row[::3], row[1::3], row[2::3], strict=True)
            samples[tuple([entry(*triple) for triple in triples])] += times
        different = {names[path]: count for path, count in packed.different}
        changed = {names[key]: count for key, count in packed.changed}
    except (ValueError, IndexError):
        return None
    return SampleGroup(
        samples,
        different,
        counter=packed.counter,
        version=packed.version,
        accepted=packed.accepted,
        match_keys=packed.match_keys,
        changed=changed,
        facts=packed.facts,
    )
