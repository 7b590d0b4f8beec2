"""Read the fields of an event as a mapping defines them, each as the value for Amazon or as a `Rejection`.

The reader also collects warnings. For a preview, it reports each step to a trace.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from app.domain.conversion import values
from app.domain.conversion.consent import ConsentRule, Signal
from app.domain.conversion.countries import COUNTRIES, read_country
from app.domain.conversion.failures import SourceFailed, wrong_type
from app.domain.conversion.timestamps import EARLY_LIMIT, EventTime, read_time
from app.domain.event import Rejection
from app.domain.identity import DroppedKey, DropReason, MatchKey, Profile, match_key
from app.domain.mapping.document import CustomField, KeyField
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.reading import Reading
from app.domain.mapping.sources import Source, constant, unchecked

MAX_TRAIT_LENGTH: Final = 1024
_FIXED: Final = constant(None)  # reported as the source of consent if the mapping reads none from the event


@dataclass(frozen=True, slots=True)
class EventWarning:
    """A warning about an accepted event: a key of `WARNINGS`, and the path in the event."""

    code: str
    field: str | None


ID_DERIVED: Final = EventWarning("event_id_derived", "event_id")


class StepTrace(Protocol):
    """Receives each step of a conversion, for a preview."""

    def step(self, name: str, source: Source, *, found: bool, rule: str, result: Any) -> None:
        """Record the result of one field of the mapping. `result` contains no value of a match key."""


class FieldReader:
    """Reads the fields of one event, which contains personal data."""

    __slots__ = ("_content", "_event_id", "_reading", "_trace", "dropped_keys", "warnings")

    def __init__(self, content: dict[str, Any], event_id: str, trace: StepTrace | None) -> None:
        self._content = content
        self._event_id = event_id
        self._reading = Reading()
        self._trace = trace
        self.warnings: list[EventWarning] = []
        self.dropped_keys: list[tuple[str, str]] = []  # (Amazon's match key type, reason)

    def choice(self, name: str, source: Source, choices: Container[str]) -> str | Rejection:
        """Read a field whose value must be one of `choices`. Upper and lower case matter."""
        value = source.read(self._content, self._reading, unchecked)
        if type(value) is str and value in choices:
            self._note(name, source, value)
            return value
        if value is None:
            return self.refuse(SourceFailed(f"{name}_invalid", "is absent"), name, source)
        if type(value) is not str:
            return self.refuse(_not_text(value), name, source)
        return self.refuse(SourceFailed(f"{name}_invalid", "is not in Amazon's list"), name, source)

    def country(self, source: Source) -> str | Rejection:
        """Read the country code. Consent and national phone numbers depend on it (P15)."""
        name = "country_code"
        value = source.read(self._content, self._reading, unchecked)
        if value is None:
            return self.refuse(SourceFailed("country_missing", "is absent"), name, source)
        if type(value) is not str:
            return self.refuse(_not_text(value), name, source)
        code = value
        if value not in COUNTRIES:  # rare: most events contain a valid code
            country = read_country(value)
            if country is None:
                return self.refuse(
                    SourceFailed("country_invalid", "is not a country in Amazon's list"), name, source
                )
            if country.warning:
                self.warnings.append(EventWarning(country.warning, source.path))
            code = country.code
        self._note(name, source, code)
        return code

    def note_consent(self, rule: ConsentRule, signal: Signal) -> None:
        """Report to the trace that the consent check passed. Leave out the consent string: it is personal."""
        if self._trace:
            source = rule.user_data or rule.string or _FIXED
            self._trace.step("consent", source, found=bool(signal), rule="gate", result=rule.mode.value)

    def moment(
        self, source: Source, *, now: datetime, max_age: timedelta, warn_age: timedelta
    ) -> EventTime | Rejection:
        """Read the event time. It must be an age that Amazon accepts (P6)."""
        name = "event_timestamp"
        value = source.read(self._content, self._reading, unchecked)
        if value is None:
            return self.refuse(SourceFailed("timestamp_missing", "is absent"), name, source)
        if type(value) is not str:
            failed = _not_text(value)
            # A time that cannot be read has the same reason, no matter whether a pipe or this reader fails to
            # read it.
            reason = "timestamp_invalid" if failed.reason == "transform_failed" else failed.reason
            return self.refuse(SourceFailed(reason, failed.sentence), name, source)
        moment = read_time(value)
        if moment is None:
            return self.refuse(
                SourceFailed("timestamp_invalid", "is not an ISO 8601 time with a zone"), name, source
            )
        age = now - moment.at
        if age < -EARLY_LIMIT:
            return self.refuse(SourceFailed("timestamp_future", "is in the future"), name, source)
        if age > max_age:
            return self.refuse(
                SourceFailed("event_too_old", f"is more than {max_age.days} days ago"), name, source
            )
        if age > warn_age:
            self.warnings.append(EventWarning("event_aging", source.path))
        self._note(name, source, moment.text)
        return moment

    def match_keys(
        self, fields: tuple[KeyField, ...], *, profile: Profile, country: str
    ) -> list[dict[str, Any]] | Rejection:
        """Read the match keys as Amazon's JSON, hashed where Amazon requires it.

        An unusable match key is dropped with a warning. Reject the event if no match key remains (R2).
        """
        keys: list[dict[str, Any]] = []
        content = self._content
        for field in fields:
            source = field.source
            text = source.read(content, self._reading, unchecked)
            if text is None:
                self._note_absent(field.rule.field, source)
                continue
            if type(text) is not str:
                return self.refuse(_not_text(text), field.rule.field, source)
            if len(text) > MAX_TRAIT_LENGTH:
                failed = SourceFailed("value_too_long", f"has more than {MAX_TRAIT_LENGTH:,} characters")
                return self.refuse(failed, field.rule.field, source)
            key = match_key(profile, field.rule, text, country=country)
            if type(key) is MatchKey and not field.rule.hashed and "@" in key.value:
                key = DroppedKey(DropReason.PERSONAL)
            if type(key) is MatchKey:
                keys.append({"type": field.wire_type, "values": [key.value]})
                if self._trace:
                    shown = f"sha256:{key.value[:8]}…" if field.rule.hashed else "…"
                    self._trace.step(field.rule.field, source, found=True, rule=key.rule, result=shown)
            else:
                assert isinstance(key, DroppedKey)
                self.dropped_keys.append((field.wire_type, key.why.value))
                self.warnings.append(EventWarning("match_key_dropped", source.path or field.rule.field))
                if self._trace:
                    self._trace.step(field.rule.field, source, found=True, rule="dropped", result=None)
        if keys:
            return keys
        reasons = dict(self.dropped_keys)
        causes = ", ".join(
            f"{field.rule.field} is {reasons.get(field.wire_type, 'absent')}" for field in fields
        )
        return Rejection("no_match_key", None, None, f"No match key is left: {causes}.", self._event_id)

    def other_fields(self, sources: dict[str, Source], *, purchase: bool) -> dict[str, Any] | Rejection:
        """Return the values of all fields except match keys, by field name, without absent fields."""
        read: dict[str, Any] = {}
        for name, source in sources.items():
            raw = source.read(self._content, self._reading, unchecked)
            if raw is None:
                self._note_absent(name, source)
                continue
            value = raw
            if type(raw) is not SourceFailed:
                reader = values.READERS.get(name)
                value = reader(raw) if reader else values.read_value(raw, purchase=purchase)
            if type(value) is SourceFailed:
                return self.refuse(value, name, source)
            if name == "value" and value != raw:
                self.warnings.append(EventWarning("value_rounded", source.path or name))
            if self._trace:
                self._note(name, source, "…" if name == "ip_address" else value)
            read[name] = value
        return read

    def custom_data(self, rows: tuple[CustomField, ...]) -> list[dict[str, str]] | Rejection:
        """Read the custom data as Amazon's JSON, without absent fields (P10)."""
        read: list[dict[str, str]] = []
        for row in rows:
            raw = row.source.read(self._content, self._reading, unchecked)
            if raw is None:
                self._note_absent(row.field, row.source)
                continue
            text = raw
            if not values.is_plain(raw):
                text = raw if isinstance(raw, SourceFailed) else values.read_custom(raw)
                if text is None:
                    self.warnings.append(EventWarning("custom_value_dropped", row.source.path or row.field))
                    if self._trace:
                        self._trace.step(row.field, row.source, found=True, rule="dropped", result=None)
                    continue
                if isinstance(text, SourceFailed):
                    return self.refuse(text, row.field, row.source)
                if not values.is_plain(text):
                    self.warnings.append(EventWarning("custom_value_unusual", row.source.path or row.field))
            read.append({"name": row.name, "value": text})
            if self._trace:
                self._note(row.field, row.source, text)
        return read

    def refuse(self, failed: SourceFailed, name: str, source: Source | None) -> Rejection:
        """Return the rejection of the event because the field `name` failed. Its detail names the source."""
        if source is None:
            return Rejection(failed.reason, None, name, failed.sentence, self._event_id)
        where = f"is mapped to {source.path}" if source.path is not None else "is a constant"
        detail = f"{_label(name)} {where}, which {failed.sentence}."
        return Rejection(failed.reason, source.path, name, detail, self._event_id)

    def _note(self, name: str, source: Source, result: Any) -> None:
        if self._trace:
            self._trace.step(name, source, found=True, rule=source.rule, result=result)

    def _note_absent(self, name: str, source: Source) -> None:
        if self._trace:
            self._trace.step(name, source, found=False, rule="absent", result=None)


_LABELS: Final = {
    "event_type": "Event Type",
    "event_source": "Event Source",
    "country_code": "Country Code",
    "consent.user_data": "Consent to the use of user data",
    "consent.ad_storage": "Consent to ad storage",
    "consent.string": "The consent string",
}


def _label(name: str) -> str:
    row = FIELDS.get(name)
    return row.label if row else _LABELS.get(name, f"Custom field {name.removeprefix('custom_data.')}")


def _not_text(value: Any) -> SourceFailed:
    return value if type(value) is SourceFailed else wrong_type(value, "a text is expected")
