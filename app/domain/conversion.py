"""From event to conversion: the finished Amazon event, its bytes frozen, or the reason why there is none.

`convert` is the whole of it, pure and total: no event makes it raise, and the same arguments give the same
bytes. Only what may leave is in those bytes: match keys hashed where Amazon wants them hashed, and what the
mapping names.
"""

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from app.domain import consent, values
from app.domain.consent import ConsentSettings
from app.domain.countries import read_country
from app.domain.destination import Region
from app.domain.event import Event, Rejection, amazon_event_id
from app.domain.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE
from app.domain.failures import Failed, json_type, wrong_type
from app.domain.fields import FIELDS
from app.domain.identity import Key, Profile, match_key
from app.domain.mapping import Mapping
from app.domain.sources import Source
from app.domain.timestamps import EARLY_LIMIT, Moment, read_time

MAX_TRAIT_LENGTH: Final = 1024
INGESTION: Final = "SERVER_TO_SERVER"
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Rules:
    """What conversion needs of the destination and of the mapping's version, beside the mapping itself.

    `pins` gives the one name each event type may have for this advertiser (R12); a type without a pin may
    have any.
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


@dataclass(frozen=True, slots=True)
class Warned:
    """Something worth knowing about an event that was taken: a word of `WARNINGS`, and the source path."""

    code: str
    field: str | None


@dataclass(frozen=True, slots=True)
class Conversion:
    """The finished Amazon event. `body` is exactly what is sent: compact JSON of one event, kept from repr."""

    event_id: str
    amazon_event_id: str
    event_type: str
    event_name: str
    event_at: datetime
    body: bytes = field(repr=False)
    match_keys: tuple[str, ...] = ()  # wire types carried, in order
    warnings: tuple[Warned, ...] = ()


class Trace(Protocol):
    """Is told each step of a conversion, for the preview; `shown` is safe to show to whoever may preview."""

    def step(self, name: str, source: Source, found: bool, rule: str, shown: Any) -> None:
        """Take note of one destination field."""


def convert(
    event: Event,
    event_id: str,
    mapping: Mapping,
    rules: Rules,
    *,
    now: datetime,
    trace: Trace | None = None,
) -> Conversion | Rejection:
    """Turn an event into the Amazon event that will be sent, or say why it is not taken.

    `event_id` is the caller's or the derived one. What stops an event earliest is what is reported: the type,
    its name, country and consent, then the time, the match keys, and the rest in the order of the Amazon
    event.
    """
    return _Run(event.content, event_id, mapping, rules, now, trace).conversion()


class _Run:
    """One conversion under way. A method gives its part, or a `Rejection` that ends the run."""

    __slots__ = ("content", "event_id", "mapping", "now", "rules", "trace", "warnings")

    def __init__(
        self,
        content: dict[str, Any],
        event_id: str,
        mapping: Mapping,
        rules: Rules,
        now: datetime,
        trace: Trace | None,
    ) -> None:
        self.content = content
        self.event_id = event_id
        self.mapping = mapping
        self.rules = rules
        self.now = now
        self.trace = trace
        self.warnings: list[Warned] = []

    def conversion(self) -> Conversion | Rejection:
        """Walk through the parts of an Amazon event in the order in which they can stop it."""
        mapping, rules = self.mapping, self.rules
        event_type = self._choice("event_type", mapping.event_type, EVENT_TYPES)
        if isinstance(event_type, Rejection):
            return event_type
        if (pinned := rules.pins.get(event_type)) is not None and pinned != mapping.event_name:
            return self._name_conflict(event_type, pinned)
        event_source = self._choice("event_source", mapping.event_source, EVENT_SOURCES)
        if isinstance(event_source, Rejection):
            return event_source
        country = self._country()
        if isinstance(country, Rejection):
            return country
        signal = self._consent(country)
        if isinstance(signal, Rejection):
            return signal
        moment = self._moment()
        if isinstance(moment, Rejection):
            return moment
        keys = self._match_keys(country)
        if isinstance(keys, Rejection):
            return keys

        description = {
            "name": mapping.event_name,
            "conversionType": event_type,
            "eventSource": event_source,
            "eventIngestionMethod": INGESTION,
        }
        if rules.dataset_name:
            description["dataSetName"] = rules.dataset_name
        body: dict[str, Any] = {
            "eventDescription": description,
            "countryCode": country,
            "eventTime": moment.text,
            "matchKeys": keys,
        }
        refused = self._rest(body, event_type, signal)
        if refused:
            return refused
        return Conversion(
            event_id=self.event_id,
            amazon_event_id=body["eventId"],
            event_type=event_type,
            event_name=mapping.event_name,
            event_at=moment.at,
            body=_ENCODER.encode(body),
            match_keys=tuple(key["type"] for key in keys),
            warnings=tuple(self.warnings),
        )

    def _rest(self, body: dict[str, Any], event_type: str, signal: dict[str, Any]) -> Rejection | None:
        """Fill in what comes after the match keys, in the contract's order (§2.1, §2.9)."""
        purchase = event_type == PURCHASE
        fields = self.mapping.fields
        read: dict[str, Any] = {}
        for name, source in fields.items():
            value = self._field(name, source, purchase=purchase)
            if isinstance(value, Rejection):
                return value
            if value is not None:
                read[name] = value

        if "value" in read:
            body["value"] = read["value"]
        if purchase:
            # The destination's currency serves every purchase that names none (R5).
            body["currencyCode"] = read.get("currency", self.rules.currency)
            if "units_sold" in read:
                body["unitsSold"] = read["units_sold"]
        else:
            for name, warning in (("currency", "currency_ignored"), ("units_sold", "units_ignored")):
                if name in read:
                    self.warnings.append(Warned(warning, fields[name].path))
        body["eventId"] = read.get("event_id") or amazon_event_id(
            self.rules.destination_id, self.rules.mapping_id, event_type, self.event_id
        )
        if "ip_address" in read:
            signal = {"geo": {"ipAddress": read["ip_address"]}, **signal}
        if signal:
            body["consent"] = signal
        if read.get("limited_data_use"):
            body["dataProcessingOptions"] = {"options": "LIMITED_DATA_USE"}
        if custom := self._custom_data():
            if isinstance(custom, Rejection):
                return custom
            body["customData"] = custom
        if "user_agent" in read:
            body["deviceInfo"] = {"userAgent": read["user_agent"]}
        if "aref_measurement_tokens" in read:
            body["arefMeasurementTokens"] = read["aref_measurement_tokens"]
        if "amazon_ad_event_key" in read:
            body["amazonAdEventKey"] = read["amazon_ad_event_key"]
        return None

    def _choice(self, name: str, source: Source, choices: Table[str, Any]) -> str | Rejection:
        value = source.read(self.content)
        if type(value) is str and value in choices:
            if self.trace:
                self.trace.step(name, source, True, source.rule, value)
            return value
        reason = f"{name}_invalid"
        if value is None:
            return self._refuse(Failed(reason, "is absent"), name, source)
        if type(value) is Failed:
            return self._refuse(value, name, source)
        if type(value) is not str:
            return self._refuse(wrong_type(f"is {json_type(value)}, where a text is taken"), name, source)
        return self._refuse(Failed(reason, f"is none of Amazon's {len(choices)} values"), name, source)

    def _name_conflict(self, event_type: str, pinned: str) -> Rejection:
        detail = (
            f"{event_type} is sent for this advertiser under the name {pinned!r}; "
            f"the mapping says {self.mapping.event_name!r}."
        )
        return Rejection("event_name_conflict", None, "event_name", detail, self.event_id)

    def _country(self) -> str | Rejection:
        source = self.mapping.country
        value = source.read(self.content)
        if type(value) is str:
            country = read_country(value)
            if country is None:
                return self._refuse(
                    Failed("country_invalid", "is no country code Amazon knows"), "country_code", source
                )
            if country.warning:
                self.warnings.append(Warned(country.warning, source.path))
            if self.trace:
                self.trace.step("country_code", source, True, source.rule, country.code)
            return country.code
        if value is None:
            return self._refuse(Failed("country_missing", "is absent"), "country_code", source)
        return self._refuse(_not_text(value), "country_code", source)

    def _consent(self, country: str) -> dict[str, Any] | Rejection:
        rules = self.rules
        required = consent.is_required(rules.region, country)
        signal = consent.judge(
            self.mapping.consent, self.content, required=required, settings=rules.consent_settings
        )
        if isinstance(signal, consent.Blocked):
            if signal.source is None:
                return Rejection(signal.reason, None, "consent", signal.sentence, self.event_id)
            name = signal.name or "consent"
            return self._refuse(Failed(signal.reason, signal.sentence), name, signal.source)
        return signal

    def _moment(self) -> Moment | Rejection:
        source = self.mapping.timestamp
        name = "event_timestamp"
        value = source.read(self.content)
        if value is None:
            return self._refuse(Failed("timestamp_missing", "is absent"), name, source)
        if type(value) is not str:
            failed = _not_text(value)
            if failed.reason == "transform_failed":
                failed = Failed("timestamp_invalid", failed.sentence)
            return self._refuse(failed, name, source)
        moment = read_time(value)
        if moment is None:
            return self._refuse(Failed("timestamp_invalid", "is no ISO 8601 time with a zone"), name, source)
        age = self.now - moment.at
        if age < -EARLY_LIMIT:
            return self._refuse(Failed("timestamp_future", "lies in the future"), name, source)
        if age > self.rules.max_age:
            days = self.rules.max_age.days
            return self._refuse(Failed("event_too_old", f"is more than {days} days ago"), name, source)
        if age > self.rules.warn_age:
            self.warnings.append(Warned("event_aging", source.path))
        if self.trace:
            self.trace.step(name, source, True, source.rule, moment.text)
        return moment

    def _match_keys(self, country: str) -> list[dict[str, Any]] | Rejection:
        keys: list[dict[str, Any]] = []
        profile, content = self.rules.profile, self.content
        for rule, source in self.mapping.match_keys:
            text = source.read(content)
            if text is None:
                if self.trace:
                    self.trace.step(rule.field, source, False, "absent", None)
                continue
            if type(text) is not str:
                return self._refuse(_not_text(text), rule.field, source)
            if len(text) > MAX_TRAIT_LENGTH:
                failed = Failed("value_too_long", f"has more than {MAX_TRAIT_LENGTH:,} characters")
                return self._refuse(failed, rule.field, source)
            key = match_key(profile, rule, text, country=country)
            # An id that travels unhashed must not be an address in clear.
            if type(key) is Key and (rule.hashed or "@" not in key.value):
                keys.append({"type": rule.type.value, "values": [key.value]})
                if self.trace:
                    shown = f"sha256:{key.value[:8]}…" if rule.hashed else "…"
                    self.trace.step(rule.field, source, True, key.rule, shown)
            else:
                self.warnings.append(Warned("match_key_dropped", source.path or rule.field))
                if self.trace:
                    self.trace.step(rule.field, source, True, "dropped", None)
        if keys:
            return keys
        names = ", ".join(rule.field for rule, _ in self.mapping.match_keys)
        detail = f"No match key is left of what the mapping reads: {names}."
        return Rejection("no_match_key", None, None, detail, self.event_id)

    def _field(self, name: str, source: Source, *, purchase: bool) -> Any:
        raw = source.read(self.content)
        if raw is None:
            if self.trace:
                self.trace.step(name, source, False, "absent", None)
            return None
        if type(raw) is Failed:
            return self._refuse(raw, name, source)
        value = values.read_value(raw, purchase=purchase) if name == "value" else values.READERS[name](raw)
        if type(value) is Failed:
            return self._refuse(value, name, source)
        if name == "value" and value != raw:
            self.warnings.append(Warned("value_rounded", source.path))
        if self.trace:
            self.trace.step(name, source, True, source.rule, "…" if name == "ip_address" else value)
        return value

    def _custom_data(self) -> list[dict[str, str]] | Rejection:
        rows: list[dict[str, str]] = []
        for row in self.mapping.custom_data:
            raw = row.source.read(self.content)
            if raw is None:
                if self.trace:
                    self.trace.step(f"custom_data.{row.name}", row.source, False, "absent", None)
                continue
            text = raw if type(raw) is Failed else values.read_custom(raw)
            if type(text) is not str:
                assert isinstance(text, Failed)
                return self._refuse(text, f"custom_data.{row.name}", row.source)
            if values.is_unusual(text):
                self.warnings.append(Warned("custom_value_unusual", row.source.path or row.name))
            rows.append({"name": row.name, "value": text})
            if self.trace:
                self.trace.step(f"custom_data.{row.name}", row.source, True, row.source.rule, text)
        return rows

    def _refuse(self, failed: Failed, name: str, source: Source) -> Rejection:
        label = _label(name)
        where = f"is mapped to {source.path}" if source.path is not None else "is a constant"
        detail = f"{label} {where}, which {failed.sentence}."
        return Rejection(failed.reason, source.path, name, detail, self.event_id)


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


def _not_text(value: Any) -> Failed:
    """Say why a value that should be a text is none."""
    return value if type(value) is Failed else wrong_type(f"is {json_type(value)}, where a text is taken")
