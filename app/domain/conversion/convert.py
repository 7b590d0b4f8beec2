"""Convert an event into the bytes of the Amazon event, or return why the event is rejected.

`convert` raises for no event, and the same arguments always give the same bytes. The bytes contain nothing of
the event but match keys and mapped fields. Match keys are hashed where Amazon requires it.
"""

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from app.domain.conversion import consent
from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.currencies import WITHOUT_DECIMALS
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE, PURCHASE_ONLY
from app.domain.conversion.failures import SourceFailed
from app.domain.conversion.field_reader import EventWarning, FieldReader, StepTrace
from app.domain.conversion.values import is_integral
from app.domain.destination import Region
from app.domain.event import Event, Rejection, amazon_event_id
from app.domain.identity import Profile
from app.domain.mapping.document import Mapping

__all__ = ["Conversion", "EventWarning", "Rules", "StepTrace", "convert"]

INGESTION: Final = "SERVER_TO_SERVER"
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a conversion needs to know about the destination and the mapping's version.

    `pins` maps an event type to the only event name that this advertiser may send with it (R12). Event types
    without a pin accept any name.
    """

    destination_id: str
    mapping_id: str
    mapping_version: int
    region: Region
    profile: Profile
    currency: str
    dataset_name: str | None
    pins: Table[str, str]
    max_age: timedelta = timedelta(days=21)  # P6
    warn_age: timedelta = timedelta(days=7)  # P6
    consent_settings: ConsentSettings = field(default_factory=ConsentSettings)


class Conversion(msgspec.Struct, frozen=True):
    """The finished Amazon event, and what is known about it. `body` is its JSON, sent to Amazon unchanged."""

    event_id: str
    amazon_event_id: str
    event_type: str
    event_name: str
    event_at: datetime
    body: bytes
    match_keys: tuple[str, ...] = ()  # Amazon's types of the match keys in the body, in the same order
    warnings: tuple[EventWarning, ...] = ()
    dropped_keys: tuple[tuple[str, str], ...] = ()  # (Amazon's match key type, reason) of dropped match keys
    consent: str | None = None  # the result of `consent.evidence`

    def __repr__(self) -> str:
        return f"Conversion(event_id={self.event_id!r}, event_type={self.event_type!r})"


def convert(
    event: Event,
    event_id: str,
    mapping: Mapping,
    rules: Rules,
    *,
    now: datetime,
    trace: StepTrace | None = None,
) -> Conversion | Rejection:
    """Convert an event into the Amazon event, or return its first problem as a rejection.

    `event_id` is the caller's id. If the caller sent none, it is derived from the content. The fields are
    checked in this order: event type and name, source, country, consent, time, match keys, other fields. Each
    step is reported to `trace`.
    """
    reading = FieldReader(event.content, event_id, trace)

    event_type = reading.choice("event_type", mapping.event_type, EVENT_TYPES)
    if isinstance(event_type, Rejection):
        return event_type
    pinned = rules.pins.get(event_type)
    if pinned is not None and pinned != mapping.event_name:
        return _name_conflict(event_type, pinned, mapping.event_name, event_id)
    event_source = reading.choice("event_source", mapping.event_source, EVENT_SOURCES)
    if isinstance(event_source, Rejection):
        return event_source
    country = reading.country(mapping.country)
    if isinstance(country, Rejection):
        return country
    signal = _consent(reading, event, mapping, rules, country)
    if isinstance(signal, Rejection):
        return signal

    moment = reading.moment(mapping.timestamp, now=now, max_age=rules.max_age, warn_age=rules.warn_age)
    if isinstance(moment, Rejection):
        return moment
    keys = reading.match_keys(mapping.match_keys, profile=rules.profile, country=country)
    if isinstance(keys, Rejection):
        return keys
    read = reading.other_fields(mapping.fields, purchase=event_type == PURCHASE)
    if isinstance(read, Rejection):
        return read
    custom = reading.custom_data(mapping.custom_data)
    if isinstance(custom, Rejection):
        return custom

    description = {
        "name": mapping.event_name,
        "conversionType": event_type,
        "eventSource": event_source,
        "eventIngestionMethod": INGESTION,
    }
    if rules.dataset_name:
        description["dataSetName"] = rules.dataset_name
    amazon_event: dict[str, Any] = {
        "eventDescription": description,
        "countryCode": country,
        "eventTime": moment.text,
        "matchKeys": keys,
    }
    if "value" in read:
        amazon_event["value"] = read["value"]
    if event_type == PURCHASE:
        # A purchase without a currency has the destination's currency (R5).
        currency = amazon_event["currencyCode"] = read.get("currency", rules.currency)
        if currency in WITHOUT_DECIMALS and not is_integral(read.get("value")):
            reading.warnings.append(EventWarning("value_unusual", mapping.fields["value"].path or "value"))
        if "units_sold" in read:
            amazon_event["unitsSold"] = read["units_sold"]
    else:
        _warn_of_purchase_fields(reading, read, mapping)
    amazon_id = read.get("event_id") or amazon_event_id(
        rules.destination_id, rules.mapping_id, event_type, event_id
    )
    amazon_event["eventId"] = amazon_id
    _add_rest(amazon_event, read, signal, custom)
    return Conversion(
        event_id,
        amazon_id,
        event_type,
        mapping.event_name,
        moment.at,
        _ENCODER.encode(amazon_event),
        tuple([key["type"] for key in keys]),
        tuple(reading.warnings),
        tuple(reading.dropped_keys),
        consent.evidence(mapping.consent.mode, signal),
    )


def _name_conflict(event_type: str, pinned: str, name: str, event_id: str) -> Rejection:
    detail = f"{event_type} is sent for this advertiser under the name {pinned!r}; the mapping says {name!r}."
    return Rejection("event_name_conflict", None, "event_name", detail, event_id)


def _consent(
    reading: FieldReader, event: Event, mapping: Mapping, rules: Rules, country: str
) -> consent.Signal | Rejection:
    required = consent.is_required(rules.region, country)
    signal = consent.evaluate_consent(
        mapping.consent, event.content, required=required, settings=rules.consent_settings
    )
    if isinstance(signal, consent.ConsentBlocked):
        refused = reading.refuse(SourceFailed(signal.reason, signal.sentence), signal.name, signal.source)
        return msgspec.structs.replace(refused, basis=mapping.consent.mode.value)
    reading.note_consent(mapping.consent, signal)
    return signal


def _warn_of_purchase_fields(reading: FieldReader, read: dict[str, Any], mapping: Mapping) -> None:
    for name, warning in PURCHASE_ONLY.items():
        if name in read:
            reading.warnings.append(EventWarning(warning, mapping.fields[name].path))


def _add_rest(
    amazon_event: dict[str, Any],
    read: dict[str, Any],
    signal: consent.Signal,
    custom: list[dict[str, str]],
) -> None:
    """Add the members that follow `eventId`, in the order of the contract's table (§2.1)."""
    if "ip_address" in read:
        signal = {"geo": {"ipAddress": read["ip_address"]}, **signal}
    if signal:
        amazon_event["consent"] = signal
    if read.get("limited_data_use"):
        amazon_event["dataProcessingOptions"] = {"options": "LIMITED_DATA_USE"}
    if custom:
        amazon_event["customData"] = custom
    if "user_agent" in read:
        amazon_event["deviceInfo"] = {"userAgent": read["user_agent"]}
    if "aref_measurement_tokens" in read:
        amazon_event["arefMeasurementTokens"] = read["aref_measurement_tokens"]
    if "amazon_ad_event_key" in read:
        amazon_event["amazonAdEventKey"] = read["amazon_ad_event_key"]
