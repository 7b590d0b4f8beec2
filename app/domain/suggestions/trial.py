"""Try sources on the given events: what a source gives, judged by the check of its field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.domain.conversion import values
from app.domain.conversion.amazon_codes import PURCHASE
from app.domain.conversion.consent import CONSENT_WORDS
from app.domain.identity.keys import RULES_BY_FIELD, Profile
from app.domain.mapping.reading import MAX_STEPS, Reading, SourceFailed
from app.domain.mapping.sources import MAX_MEMBERS, Check, Problems, compile_source, unchecked
from app.domain.observed.value_kinds import is_gpp, is_tcf
from app.domain.suggestions.observations import Written

MAX_CANDIDATES: Final = 4  # of one `first_of`
FEW: Final = 10  # events, too few to know that a second source never helps


def one_of(sources: Sequence[Written]) -> Written:
    """Return a source that tries these in turn."""
    return sources[0] if len(sources) == 1 else {"first_of": list(sources[:MAX_MEMBERS])}


@dataclass(frozen=True, slots=True)
class Trial:
    """The events on which sources are tried, and the country of each; empty if it is unknown."""

    events: tuple[dict[str, Any], ...] = field(repr=False)
    countries: tuple[str, ...]
    profile: Profile
    event_type: str = ""
    invented: bool = False  # the values stand for others, so that equal ones prove nothing
    _values: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    def values(self, source: Written | str) -> tuple[Any, ...]:
        """Return what a source gives for each event: a value, None, or `SourceFailed`."""
        key = repr(source)
        if key not in self._values:
            compiled = compile_source(source, "", Problems(), bare="path")
            self._values[key] = (None,) * len(self.events)
            if compiled is not None:
                read, left = compiled.read, MAX_STEPS - compiled.steps
                self._values[key] = tuple(
                    read(event, Reading(steps_left=left), unchecked) for event in self.events
                )
        return self._values[key]

    def usable(self, name: str, source: Written | str) -> tuple[bool, ...]:
        """Return for each event whether the source gives a usable value for a field of the mapping."""
        if isinstance(source, dict) and (members := source.get("first_of")):
            return tuple(map(any, zip(*(self.usable(name, member) for member in members), strict=True)))
        return tuple(
            not (value is None or isinstance(value, SourceFailed))
            and not isinstance(self._check(name, country)(value), SourceFailed)
            for value, country in zip(self.values(source), self.countries, strict=True)
        )

    def _check(self, name: str, country: str) -> Check:
        """Return the check of a field with which the plan of a mapping reads it, too."""
        if rule := RULES_BY_FIELD.get(name):
            # Without a country, a national number is judged as it is written.
            is_national = name == "phone" and not any(self.countries)
            return values.key_check(Profile.SEGMENT if is_national else self.profile, rule, country)
        if name == "value" and self.event_type == PURCHASE:
            return values.check_price
        return _CHECKS[name.partition(".")[0]]

    def all_of(self, name: str, sources: Sequence[Written]) -> Written | None:
        """Return one source of all, of which each reads some events; others cost the field, not the event."""
        source = one_of(sources)
        return {**source, "on_error": "omit"} if any(self.usable(name, source)) else None

    def without_unreadable(self, source: Written) -> Written:
        """Let an event pass without the field, if some of the given events have an unreadable value."""
        failed = any(isinstance(value, SourceFailed) for value in self.values(source))
        return {**source, "on_error": "omit"} if failed else source

    def first_of(self, name: str, sources: Sequence[Written]) -> Written | None:
        """Return one source for a field: the first candidate, and those that help where it has no value.

        A candidate can be a `first_of` itself. Of few events, nothing is concluded from a candidate that did
        not help. Returns None if no candidate has a usable value.
        """
        chosen: list[Written] = []
        covered = [False] * len(self.events)
        for source in sources:
            usable = self.usable(name, source)
            helps = any(use and not cover for use, cover in zip(usable, covered, strict=True))
            is_possible = helps or (any(usable) and len(self.events) < FEW)
            if is_possible and self.values(source) not in map(self.values, chosen):
                chosen.append(source)
                covered = [use or cover for use, cover in zip(usable, covered, strict=True)]
            if len(chosen) == MAX_CANDIDATES:
                break
        if not chosen:
            return None
        return one_of([source for each in chosen for source in each.get("first_of", [each])])


def _check_consent(value: Any) -> str | SourceFailed:
    """Read an answer or a consent string."""
    text = value.strip() if type(value) is str else ""
    is_known = text.lower() in CONSENT_WORDS or is_tcf(text) or is_gpp(text)
    return text if is_known else SourceFailed("consent_invalid", "is not a consent value")


_CHECKS: Final[Mapping[str, Check]] = {
    **values.CHECKS,
    "event_timestamp": values.check_time,
    "event_type": values.check_event_type,
    "event_source": values.check_event_source,
    "country_code": values.check_country,
    "custom_data": values.check_custom,
    "consent": _check_consent,
}
