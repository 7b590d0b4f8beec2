"""Preview each field of a draft on its own, so that a draft shows results before it is complete.

A field that is missing or rejects the event does not hide the results of other fields.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.domain.conversion import consent
from app.domain.conversion.convert import Rules
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE, PURCHASE_ONLY
from app.domain.conversion.field_reader import FieldReader
from app.domain.event import Rejection
from app.domain.identity import MATCH_KEYS, DropReason
from app.domain.mapping.document import DraftParts, KeyField
from app.domain.mapping.sources import Source
from app.domain.outcomes.reasons import WARNINGS


@dataclass(frozen=True, slots=True)
class FieldPreview:
    """The result of one field for an event, or a note that explains why the field has no result.

    `result` contains no personal data: a hash is shortened, and an unhashed id is `…`. `rejects` means that
    this field rejects the event.
    """

    field: str
    source: str | None
    result: Any = None
    rule: str = ""
    note: str | None = None
    rejects: bool = False


class _LastStep:
    """Keeps the last step that a FieldReader reports."""

    def __init__(self) -> None:
        self.source: str | None = None
        self.rule = ""
        self.result: Any = None

    def step(self, name: str, source: Source, *, found: bool, rule: str, result: Any) -> None:
        del name, found
        self.source, self.rule = source.path, rule
        self.result = float(result) if isinstance(result, Decimal) else result


def preview_fields(
    event: dict[str, Any], parts: DraftParts, rules: Rules, *, now: datetime
) -> Iterator[FieldPreview]:
    """Yield the preview of each mapped field, in the order of the conversion."""
    sources = dict(parts.sources)
    event_type = None
    if source := sources.pop("event_type", None):
        preview = _read(event, "event_type", source, FieldReader.choice, "event_type", source, EVENT_TYPES)
        event_type = preview.result
        yield preview
    if parts.event_name:
        yield _event_name(parts.event_name, rules.pins.get(event_type or ""))
    if source := sources.pop("event_source", None):
        yield _read(event, "event_source", source, FieldReader.choice, "event_source", source, EVENT_SOURCES)
    country = ""
    if source := sources.pop("country_code", None):
        preview = _read(event, "country_code", source, FieldReader.country, source)
        country = preview.result or ""
        yield preview
    yield from _consent(event, parts, rules, country)
    if source := sources.pop("event_timestamp", None):
        ages = {"now": now, "max_age": rules.max_age, "warn_age": rules.warn_age}
        yield _read(event, "event_timestamp", source, FieldReader.moment, source, **ages)
    for rule in MATCH_KEYS:
        if source := sources.pop(rule.field, None):
            key = (KeyField(rule, rule.type.value, source),)
            person = {"profile": rules.profile, "country": country}
            yield _read(event, rule.field, source, FieldReader.match_keys, key, **person)
    purchase = event_type == PURCHASE
    for name, source in sources.items():
        preview = _read(event, name, source, FieldReader.other_fields, {name: source}, purchase=purchase)
        if event_type is not None and not purchase and not preview.rejects:
            preview = _without_purchase_fields(preview)
        yield preview
    for row in parts.custom_data:
        yield _read(event, row.field, row.source, FieldReader.custom_data, (row,))


def _read(
    event: dict[str, Any],
    name: str,
    source: Source,
    reading: Callable[..., Any],
    *arguments: Any,
    **options: Any,
) -> FieldPreview:
    """Read one field by a method of FieldReader, and return its preview."""
    step = _LastStep()
    reader = FieldReader(event, "", step)
    outcome = reading(reader, *arguments, **options)
    # An event without this match key can still have others, which are read separately.
    if isinstance(outcome, Rejection) and outcome.reason != "no_match_key":
        return FieldPreview(name, source.path, note=outcome.detail, rejects=True)
    if step.rule == "absent":
        return FieldPreview(name, source.path, rule=step.rule, note=f"The sample has no {source.path}.")
    if reader.dropped_keys:
        reason = reader.dropped_keys[0][1]
        why = "nothing valid remained" if reason == DropReason.EMPTY else reason.replace("_", " ")
        return FieldPreview(name, source.path, rule=step.rule, note=f"Left out: {why}.")
    note = next((WARNINGS[warning.code] for warning in reader.warnings), None)
    return FieldPreview(name, source.path, step.result, step.rule, note)


def _event_name(name: str, pinned: str | None) -> FieldPreview:
    if pinned is None or pinned == name:
        return FieldPreview("event_name", None, name, "const")
    note = f"Events of this type are named “{pinned}” for this advertiser."
    return FieldPreview("event_name", None, note=note, rejects=True)


def _without_purchase_fields(preview: FieldPreview) -> FieldPreview:
    """Return the preview of a field in an event that is no purchase: a purchase field is ignored."""
    ignored = PURCHASE_ONLY.get(preview.field)
    if ignored is None or preview.result is None:
        return preview
    return FieldPreview(preview.field, preview.source, rule=preview.rule, note=WARNINGS[ignored])


def _consent(event: dict[str, Any], parts: DraftParts, rules: Rules, country: str) -> Iterator[FieldPreview]:
    rule = parts.consent
    if rule is None:
        return
    signal = consent.evaluate_consent(
        rule,
        event,
        required=consent.is_required(rules.region, country),
        settings=rules.consent_settings,
    )
    if isinstance(signal, consent.ConsentBlocked):
        path = signal.source.path if signal.source else None
        where = f"{path} " if path else ""
        sentence = f"{where}{signal.sentence}".removesuffix(".") + "."
        yield FieldPreview(signal.name, path, note=sentence, rejects=True)
        return
    pair = signal.get("amazonConsent", {})
    for name, source, result in (
        ("consent.user_data", rule.user_data, pair.get("amznUserData")),
        ("consent.ad_storage", rule.ad_storage, pair.get("amznAdStorage")),
        ("consent.string", rule.string, "valid" if signal else None),
    ):
        if source is not None:
            note = None if result else f"The sample has no {source.path}."
            yield FieldPreview(name, source.path, result, "gate", note)
