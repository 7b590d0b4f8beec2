"""Check a mapping document, and compile it to functions that read an event.

`check_draft` accepts a document in which members are missing; `check_publishable` does not. Both report all
problems, each with its path. `FIELDS` are the fields that a mapping can fill. Source: interface §4. The
language is described in docs/mapping-language.md.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from app.domain.conversion.amazon_codes import CURRENCIES, EVENT_SOURCES, EVENT_TYPES, read_country
from app.domain.conversion.consent import ConsentRule, Mode
from app.domain.conversion.numbers import as_integer, is_number
from app.domain.identity.keys import MATCH_KEYS, MatchKeyRule
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.domain.mapping.literal_times import literal_times
from app.domain.mapping.paths import last_name, parse_path
from app.domain.mapping.sources import MappingProblem, Problems, Source, compile_source
from app.domain.mapping.templates import parse_template
from app.domain.privacy.personal_text import holds_personal_text
from app.domain.toml_files import read_toml

# --- Fields, in the order of the form on the mapping screen (`fields.toml`) -------------------------


class Group(StrEnum):
    """The groups of fields on the mapping screen, which calls DELIVERY "Additional Settings"."""

    EVENT_ATTRIBUTE = "event_attribute"
    MATCH_KEY = "match_key"
    PURCHASE = "purchase"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a mapping: its type, its label, and the help text of the form."""

    name: str
    group: Group
    label: str
    takes: str  # 'time' | 'text' | 'number' | 'integer' | 'boolean'
    help: str


FIELDS: Final[dict[str, Field]] = {
    name: Field(name, Group(group), label, takes, text)
    for name, (group, takes, label, text) in read_toml(__file__, "fields")["fields"].items()
}
MATCH_KEY_FIELDS: Final = tuple(rule.field for rule in MATCH_KEYS)

# For each type of field: whether a constant or default is valid, and what it must be.
CONSTANTS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "text": (lambda v: isinstance(v, str) or is_number(v), "a text"),
    "number": (is_number, "a number"),
    "integer": (lambda v: type(as_integer(v)) is int, "a whole number"),
    "boolean": (lambda v: str(v).lower() in ("true", "false"), "true or false"),
}

# The same for the fields that take one of Amazon's codes.
CHOICES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "event_type": (lambda v: v in EVENT_TYPES, "one of Amazon's event types"),
    "event_source": (lambda v: v in EVENT_SOURCES, "one of Amazon's event sources"),
    "country_code": (lambda v: isinstance(v, str) and bool(read_country(v)), "an ISO 3166-1 alpha-2 code"),
    "currency": (lambda v: v in CURRENCIES, "one of Amazon's currencies"),
}

ACTION: Final = "send_events"  # "Send Events to Amazon", the only action (R9)
MAX_NAME_LENGTH: Final = 100
MAX_CUSTOM_FIELDS: Final = 13  # P10
# What is known of match keys that come as a SHA-256 digest: made by Amazon's rules, refused, or unknown.
PREHASHED: Final = ("amazon", "refuse", "unknown")
_OPTIONAL: Final = ("custom_data", "prehashed")  # members without which a mapping can be published
_CUSTOM_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,256}", re.ASCII)  # P10

# Traits that identify a person. They must be hashed. Custom data is not hashed, so it must not read their
# paths.
NAMING_TRAITS: Final = ("email", "phone", "first_name", "last_name", "address")


@dataclass(frozen=True, slots=True)
class CustomField:
    """A row of custom data. `name` is sent to Amazon; `field` is `custom_data.<name>`."""

    name: str
    field: str
    source: Source


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """A compiled mapping, or the valid parts of a draft, of which any member may be missing.

    `by_field` has the source of each mapped field, without custom data and consent.
    """

    by_field: dict[str, Source]
    event_name: str  # empty if it is missing
    custom_data: tuple[CustomField, ...]
    consent: ConsentRule | None
    prehashed: str = "unknown"

    @property
    def constant_event_type(self) -> str | None:
        """The event type if it is the same for every event, else None."""
        const = self.by_field["event_type"].const
        return None if const is None else str(const)

    @property
    def match_keys(self) -> tuple[tuple[MatchKeyRule, Source], ...]:
        """The rule and the source of each mapped match key, in the order of `MATCH_KEYS`."""
        return tuple((rule, self.by_field[rule.field]) for rule in MATCH_KEYS if rule.field in self.by_field)

    @property
    def sources(self) -> tuple[tuple[str, Source], ...]:
        """The name and source of each mapped field."""
        rule = self.consent
        parts = _CONSENT_PARTS[rule.mode] if rule else ()
        consent = {f"consent.{name}": getattr(rule, name) for name in parts}
        named = {**self.by_field, **{row.field: row.source for row in self.custom_data}, **consent}
        return tuple((name, source) for name, source in named.items() if source)

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """The name of each field with each path that it reads from the event."""
        return tuple((name, path) for name, source in self.sources for path in source.paths)


def check_draft(document: Any) -> list[MappingProblem]:
    """Return the problems of a document, except missing members."""
    reader = _DocumentReader(document)
    return reader.problems + reader.literal_times


def check_publishable(document: Any) -> list[MappingProblem]:
    """Return the problems of a document, including missing members."""
    reader = _DocumentReader(document)
    return reader.problems + reader.literal_times + reader.missing


def compile_mapping(document: Any, *, is_published: bool = False) -> Mapping | list[MappingProblem]:
    """Compile a publishable document, or return its problems.

    A published version stays valid although a later rule refuses the literal times that it holds.
    """
    reader = _DocumentReader(document)
    problems = reader.problems + reader.missing + ([] if is_published else reader.literal_times)
    return problems or reader.compiled()


def holds_literal_time(document: Any) -> bool:
    """Return whether a published version holds a time that a later rule refuses for Event Timestamp."""
    return bool(_DocumentReader(document).literal_times)


def compile_parts(document: Any) -> Mapping:
    """Compile the valid parts of a document that is incomplete or has problems."""
    return _DocumentReader(document).compiled()


class _DocumentReader:
    """Reads a document once, and collects problems, missing members and compiled parts."""

    def __init__(self, document: Any) -> None:
        self.problems, self.missing, self.literal_times = Problems(), Problems(), Problems()
        self._sources: dict[str, Source] = {}
        self._custom: list[CustomField] = []
        self._consent: ConsentRule | None = None
        self._event_name = ""
        self._prehashed = "unknown"
        if type(document) is not dict:
            self.problems.add("", "wrong_type", "A mapping is a JSON object.")
            return
        self._refuse_unknown(document, (*_TOP_LEVEL, "name", "action"), "")
        self._read_labels(document)
        for at in _personal_members(document, ("name", *_TOP_LEVEL)):
            self.problems.add(at, "personal", "It holds what looks like an email address or a phone number.")
        for name, read in _TOP_LEVEL.items():
            if document.get(name) is not None:
                read(self, document[name])
            elif name not in _OPTIONAL:
                self.missing.add(name, "required", f"To publish, a mapping needs {name}.")
        self._keep_traits_out_of_custom_data()

    def compiled(self) -> Mapping:
        """Return what is compiled: the whole mapping if the document has no problem and lacks nothing."""
        return Mapping(self._sources, self._event_name, tuple(self._custom), self._consent, self._prehashed)

    def _refuse_unknown(self, members: dict[str, Any], known: tuple[str, ...], at: str) -> None:
        for name in members:
            if name not in known:
                # The problem repeats the name only if it is a short word, because a name can be any text.
                shown = name if _CUSTOM_NAME.fullmatch(name) and len(name) <= 64 else "?"
                self.problems.add(f"{at}{shown}", "unknown_member", f"Known members: {', '.join(known)}.")

    def _read_labels(self, document: dict[str, Any]) -> None:
        name = document.get("name")
        if name is not None and not (isinstance(name, str) and name.strip() and len(name) <= MAX_NAME_LENGTH):
            sentence = f"A mapping's name is a text of 1 to {MAX_NAME_LENGTH} characters."
            self.problems.add("name", "invalid", sentence)
        if document.get("action") not in (None, ACTION):
            self.problems.add("action", "invalid", f"The only action is {ACTION}.")

    def _read_choice(self, written: Any, name: str) -> None:
        source = compile_source(written, name, self.problems, bare="const", on_error=False)
        self._map(name, name, source)

    def _read_event_name(self, written: Any) -> None:
        if isinstance(written, dict) and set(written) == {"const"}:
            written = written["const"]
        if sentence := event_name_problem(written):
            self.problems.add("event_name", "event_name_invalid", sentence)
        else:
            self._event_name = clean_event_name(written)

    def _map(self, name: str, at: str, source: Source | None, takes: str = "") -> None:
        """Map a field, and add a problem for each constant or default that it does not take."""
        if source is None:
            return
        self._sources[name] = source
        # The event time takes no constant at all: `literal_times` has the problem.
        rules = [] if takes in ("", "time") else [CONSTANTS[takes]]
        if name in CHOICES:
            rules.append(CHOICES[name])
        for takes_value, expected in rules:
            for place, value in source.constants:
                # A fallback of `first_of` can be a list, which the pipe made of it.
                if type(value) is list or not takes_value(value):
                    part = "default" if place == ".default" else "const"
                    self.problems.add(f"{at}{place}", "invalid", f"The {part} is not {expected}.")

    def _read_fields(self, written: Any) -> None:
        if type(written) is not dict:
            sentence = "fields is an object of destination fields and their sources."
            self.problems.add("fields", "wrong_type", sentence)
            return
        self._refuse_unknown(written, tuple(FIELDS), "fields.")
        for name, field in FIELDS.items():
            if written.get(name) is None:
                continue
            at, keep_blank, on_error = f"fields.{name}", name in MATCH_KEY_FIELDS, name not in ALWAYS_REJECT
            options = {"keep_blank": keep_blank, "on_error": on_error}
            source = compile_source(written[name], at, self.problems, bare="path", **options)
            self._map(name, at, source, field.takes)
        time = written.get("event_timestamp")
        for place in literal_times(time, "fields.event_timestamp"):
            self.literal_times.add(place, "not_allowed", "Event Timestamp must come from the event.")
        if time is None:
            sentence = "To publish, Event Timestamp must be mapped."
            self.missing.add("fields.event_timestamp", "required", sentence)
        if all(written.get(name) is None for name in MATCH_KEY_FIELDS):
            self.missing.add("fields", "required", "To publish, at least one match key must be mapped.")

    def _read_custom_data(self, written: Any) -> None:
        if type(written) is not list or len(written) > MAX_CUSTOM_FIELDS:
            sentence = f"custom_data is a list of at most {MAX_CUSTOM_FIELDS} rows."
            self.problems.add("custom_data", "too_many" if type(written) is list else "wrong_type", sentence)
            return
        names: set[str] = set()
        for number, row in enumerate(written):
            self._read_custom_row(row, f"custom_data[{number}]", names)

    def _read_custom_row(self, row: Any, at: str, names: set[str]) -> None:
        if isinstance(row, str):
            # A row that is only a path gets its name from the last word of the path.
            row = {"name": last_name(parse_path(row) or ()), "path": row}
        if type(row) is not dict:
            self.problems.add(at, "wrong_type", "A row is a path or an object with a name and a source.")
            return
        rest = dict(row)
        name = rest.pop("name", None)
        source = compile_source(rest, at, self.problems, bare="path")
        if not isinstance(name, str) or not _CUSTOM_NAME.fullmatch(name):
            sentence = "A custom name has 1 to 256 letters, digits and underscores."
            self.problems.add(f"{at}.name", "custom_name_invalid", sentence)
        elif name in names:
            self.problems.add(f"{at}.name", "duplicate", "Another row has this name already.")
        elif source is not None:
            self._custom.append(CustomField(name, f"custom_data.{name}", source))
        if isinstance(name, str):
            names.add(name)

    def _keep_traits_out_of_custom_data(self) -> None:
        traits = (source for name, source in self._sources.items() if name in NAMING_TRAITS)
        personal = {parse_path(path) for source in traits for path in source.paths}
        for row in self._custom:
            if not personal.isdisjoint(map(parse_path, row.source.clear_paths)):
                sentence = "This path is mapped to a match key; as custom data it would be sent in clear."
                self.problems.add(row.field, "personal_in_custom_data", sentence)

    def _read_prehashed(self, written: Any) -> None:
        if written in PREHASHED:
            self._prehashed = written
        else:
            self.problems.add("prehashed", "invalid", f"prehashed is one of {', '.join(PREHASHED)}.")

    def _read_consent(self, written: Any) -> None:
        mode_written = written.get("mode") if type(written) is dict else None
        if not isinstance(mode_written, str) or mode_written not in _CONSENT_PARTS:
            modes = ", ".join(_CONSENT_PARTS)
            sentence = f"consent is an object whose mode is one of {modes}."
            self.problems.add("consent.mode", "invalid", sentence)
            return
        mode = Mode(mode_written)
        parts = _CONSENT_PARTS[mode]
        self._refuse_unknown(written, ("mode", *parts), "consent.")
        compiled: dict[str, Source | None] = {}
        for name, required in parts.items():
            at, source = f"consent.{name}", written.get(name)
            if source is not None:
                compiled[name] = compile_source(source, at, self.problems, bare="path", on_error=False)
            elif required:
                self.missing.add(at, "required", f"The mode {mode} needs {name}.")
        self._consent = ConsentRule(mode, **compiled)


# Fields whose unreadable value rejects the event, whatever the mapping says (interface §4.4).
ALWAYS_REJECT: Final = ("event_timestamp", "limited_data_use")

# The sources of each consent mode, and whether they are required.
_CONSENT_PARTS: Final[dict[str, dict[str, bool]]] = {
    Mode.GRANTED: {},
    Mode.AMAZON: {"user_data": True, "ad_storage": False},
    Mode.TCF: {"string": True},
    Mode.GPP: {"string": True},
    Mode.NONE: {},
}

_TOP_LEVEL: Final[dict[str, Callable[[_DocumentReader, Any], None]]] = {
    "event_type": partial(_DocumentReader._read_choice, name="event_type"),
    "event_source": partial(_DocumentReader._read_choice, name="event_source"),
    "event_name": _DocumentReader._read_event_name,
    "country_code": partial(_DocumentReader._read_choice, name="country_code"),
    "fields": _DocumentReader._read_fields,
    "custom_data": _DocumentReader._read_custom_data,
    "consent": _DocumentReader._read_consent,
    "prehashed": _DocumentReader._read_prehashed,
}


# --- Addresses and phone numbers, which are refused: mappings are stored and shown -------------------


def _personal_members(document: dict[str, Any], members: tuple[str, ...]) -> list[str]:
    """Return the paths of the fields and rows in these members that contain an address or a phone number."""
    parts = [part for member in members for part in _parts(member, document.get(member))]
    return list(dict.fromkeys(at for at, part in parts if any(map(holds_personal_text, _texts(part)))))


def _parts(member: str, written: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(written, list):
        yield from ((f"{member}[{number}]", row) for number, row in enumerate(written))
    elif isinstance(written, dict):
        # An unknown name is checked too. It is not shown, because the name itself can be an address.
        yield from (
            (f"{member}.{name}" if name in FIELDS else member, [name, part]) for name, part in written.items()
        )
    else:
        yield member, written


def _texts(written: Any) -> Iterator[str]:
    if isinstance(written, str):
        yield written
    elif isinstance(written, dict):
        yield from written
        for name, part in written.items():
            is_template = name == "template" and isinstance(part, str)
            yield from _texts_of_template(part) if is_template else _texts(part)
    elif isinstance(written, list):
        for part in written:
            yield from _texts(part)


def _texts_of_template(template: str) -> Iterator[str]:
    """Yield the text around the placeholders, and each path: {login}@{host.name} is no person's address."""
    parts = parse_template(template)
    if isinstance(parts, str):
        yield template
        return
    yield "".join(part if isinstance(part, str) else " " for part in parts)
    yield from (part.text for part in parts if not isinstance(part, str))
