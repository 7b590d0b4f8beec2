"""Compile a mapping to a plan, and convert events with it.

A plan converts an event into the bytes of the Amazon event, or returns why the event is rejected. It raises
for no event, and the same arguments always give the same bytes. The bytes contain nothing of the event but
match keys and mapped fields. Match keys are hashed where Amazon requires it. The same plan serves conversion,
preview, dry run and backtest: with a trace, it reports each step.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from app.domain.conversion import consent, members, values
from app.domain.conversion.amazon_codes import PURCHASE, UK_READ_AS_GB, ReadAsGB
from app.domain.conversion.results import Conversion, EventWarning, Rules, Step, Trace
from app.domain.conversion.steps import MAX_PROBLEMS, Fields, Run, detail
from app.domain.conversion.timestamps import EARLY_LIMIT, EventTime
from app.domain.event import Event, Rejection, amazon_event_id
from app.domain.mapping.document import Mapping
from app.domain.mapping.reading import MAX_STEPS, SourceFailed
from app.domain.strict_json import json_text

__all__ = ["Conversion", "ConversionPlan", "EventWarning", "Rules", "Step", "Trace"]

INGESTION: Final = "SERVER_TO_SERVER"
MAX_WORK: Final = 2_000_000  # steps of all events of a request (interface §4.3)
ID_DERIVED: Final = EventWarning("event_id_derived", "event_id")


@dataclass(slots=True)
class Work:
    """The steps that the events of a request may still take."""

    left: int = MAX_WORK


class _Kind(NamedTuple):
    """What all events of one type and source have in common."""

    event_type: str
    purchase: bool
    conflict: SourceFailed | None  # if another name is pinned for the type
    opening: str  # JSON up to the value of `countryCode`
    scope: str  # the start of a derived Amazon eventId
    read_source: str | None  # the source, if the mapping reads it from the event


_UNKNOWN_KIND: Final = _Kind("", False, None, "", "", None)  # of an event whose type cannot be read


class ConversionPlan:
    """The compiled conversion of a mapping for a destination.

    The plan of an incomplete draft has the valid parts. It rejects every event, but reports their steps.
    """

    def __init__(self, mapping: Mapping, rules: Rules) -> None:
        sources = mapping.by_field
        self.mapping = mapping
        self.rules = rules
        self._name = mapping.event_name

        self._fields = fields = Fields(sources)
        required = partial(fields.step, rejects=True)
        self._type = required("event_type", values.check_event_type, absent="event_type_invalid")
        self._source = required("event_source", values.check_event_source, absent="event_source_invalid")
        self._country = required("country_code", values.check_country, absent="country_missing")
        self._time = required("event_timestamp", values.check_time, absent="timestamp_missing")
        self._event_id = required("event_id", values.CHECKS["event_id"]) if "event_id" in sources else None
        self._ip_address = fields.step("ip_address", values.CHECKS["ip_address"], rejects=False, shows=False)
        self._consent = mapping.consent
        self._is_granted = mapping.consent is not None and mapping.consent.mode is consent.Mode.GRANTED
        self._money = members.Money(fields, rules.currency)
        refuses_digests = mapping.prehashed == "refuse"
        self._keys = members.MatchKeys(fields, rules.profile, refuses_digests=refuses_digests)
        self._optional = members.OptionalMembers(fields)
        self._has_optional = not members.OPTIONAL_FIELDS.isdisjoint(sources)
        self._custom = members.CustomData(mapping.custom_data, fields)
        # Each member of a first_of is checked.
        checks = [(steps, sources[name]) for name, steps in values.KEY_STEPS.items() if name in sources]
        self._steps = MAX_STEPS - sum(source.steps for _, source in mapping.sources)
        self._steps -= sum(steps * source.checks for steps, source in checks)
        self._kind = cache(self._kind_of)
        fixed = (self._type.fixed, self._source.fixed)
        kind = self._kind(*fixed) if all(type(value) is str for value in fixed) else None
        self._fixed_kind = None if kind is None or kind.conflict else kind
        self._granted = f',"consent":{json_text(consent.GRANTED_PAIR)}'
        self._recent = min(rules.deployment.warn_age, rules.deployment.max_age)
        # The time of the last conversion, and the first and the last usual time of an event then.
        self._limits = (datetime.min.replace(tzinfo=UTC),) * 3

    def _kind_of(self, event_type: str, event_source: str | None) -> _Kind:
        """Return the kind of a type and a source; without a source it has no `opening`."""
        name, rules = self._name, self.rules
        pinned = rules.pins.get(event_type, name)
        conflict = None
        if pinned != name:
            sentence = (
                f"{event_type} is sent for this advertiser under the name “{pinned}”; the mapping says "
                f"“{name}”."
            )
            conflict = SourceFailed("event_name_conflict", sentence)
        description = {
            "name": name,
            "conversionType": event_type,
            "eventSource": event_source,
            "eventIngestionMethod": INGESTION,
        }
        if rules.dataset_name:
            description["dataSetName"] = rules.dataset_name
        opening = f'{{"eventDescription":{json_text(description)},"countryCode":"' if event_source else ""
        scope = amazon_event_id(rules.destination_id, rules.mapping_id, event_type, "")
        read_source = None if self._source.fixed else event_source
        return _Kind(event_type, event_type == PURCHASE, conflict, opening, scope, read_source)

    def convert(
        self,
        event: Event,
        event_id: str,
        now: datetime,
        *,
        work: Work | None = None,
        trace: Trace | None = None,
    ) -> Conversion | Rejection:
        """Convert an event into the Amazon event, or return all its problems as a rejection.

        `event_id` is the caller's id. If the caller sent none, it is derived from the content. `work` is
        charged with the steps that the event took, and each step is reported to `trace`.
        """
        objects = self._fields.objects_of(event.content, is_traced=trace is not None)
        run = Run(self._steps, content=event.content, objects=objects, trace=trace)
        try:
            kind = self._fixed_kind if run.trace is None else None
            if kind is None:
                kind = self._read_kind(run)
            country = self._country.get(run)
            if type(country) is not str or run.notes or run.trace is not None:
                warnings = (UK_READ_AS_GB,) if isinstance(country, ReadAsGB) else ()
                country = self._country.settle(run, country, warnings=warnings) or ""
            signal: consent.Signal | Rejection = consent.GRANTED_PAIR
            if not self._is_granted or run.trace is not None:
                signal = self._read_consent(run, country, event_id)
                if isinstance(signal, Rejection) and run.trace is None:
                    return signal
            moment = self._read_time(run, now)
            money = self._money.write(run, purchase=kind.purchase)
            mapped_id = None if self._event_id is None else self._event_id.value(run)
            types, keys = self._keys.write(run, country)
            address, before, after = None, "", ""
            if self._has_optional:
                address = self._ip_address.value(run)
                before, after = self._optional.write(run)
            custom = self._custom.write(run)
            if isinstance(signal, Rejection):
                return signal
            rule = self._consent
            if run.problems or moment is None or not kind.opening or not country or rule is None:
                return _rejection(run, event_id)
            amazon_id = mapped_id or kind.scope + event_id
            has_usual_signal = signal is consent.GRANTED_PAIR and address is None
            signal_text = self._granted if has_usual_signal else self._consent_member(signal, address)
            body = (
                f'{kind.opening}{country}","eventTime":"{moment.text}","matchKeys":[{keys}]{money}'
                f',"eventId":{json_text(amazon_id)}{signal_text}{before}{custom}{after}}}'
            )
            return Conversion(
                event_id,
                amazon_id,
                kind.event_type,
                self._name,
                moment.at,
                body.encode(),
                types,
                tuple(run.warnings),
                tuple(run.dropped),
                None if signal is consent.GRANTED_PAIR else consent.evidence(rule.mode, signal),
                kind.read_source,
            )
        finally:
            if work is not None:  # work beyond the limit is charged, but not done
                work.left -= MAX_STEPS - max(run.steps_left, 0)

    def _read_kind(self, run: Run) -> _Kind:
        """Read the type and the source of the event. Its name must be the one that is pinned to the type."""
        event_type = self._type.value(run)
        conflict = None if event_type is None else self._kind(event_type, None).conflict
        if conflict is not None:
            run.refuse(conflict, "event_name", None)
            if run.trace is not None:
                step = Step("event_name", None, "const", None, conflict, True, conflict.sentence)
                run.trace.append(step)
        event_source = self._source.value(run)
        return _UNKNOWN_KIND if event_type is None else self._kind(event_type, event_source)

    def _read_consent(self, run: Run, country: str, event_id: str) -> consent.Signal | Rejection:
        """Return the consent signal, or the rejection of an event without consent."""
        rule = self._consent
        if rule is None:
            return {}
        required = consent.is_required(self.rules.region, country)
        settings = self.rules.deployment.consent
        signal = consent.evaluate_consent(rule, run.content, run, required=required, settings=settings)
        if run.trace is not None:
            run.trace += _consent_steps(rule, signal, run)
        run.notes.clear()
        if not isinstance(signal, consent.ConsentBlocked):
            return signal
        alone = Run()
        alone.refuse(SourceFailed(signal.reason, signal.sentence), signal.name, signal.source)
        return replace(_rejection(alone, event_id), basis=rule.mode.value)

    def _consent_member(self, signal: consent.Signal, address: str | None) -> str:
        """Return the JSON of the member `consent`, which also holds the IP address."""
        if address is not None:
            signal = {"geo": {"ipAddress": address}, **signal}
        return f',"consent":{json_text(signal)}' if signal else ""

    def _read_time(self, run: Run, now: datetime) -> EventTime | None:
        """Read the event time. It must be an age that Amazon accepts (P6)."""
        step = self._time
        of, first, last = self._limits
        if now is not of:  # once for all events of a request
            first, last = now - self._recent, now + EARLY_LIMIT
            self._limits = now, first, last  # one value: other threads use the plan too
        time = step.get(run)
        is_recent = type(time) is EventTime and first <= time.at <= last
        if is_recent and not run.notes and run.trace is None:
            return time  # type: ignore[no-any-return]
        warnings: tuple[str, ...] = ()
        failed = None
        if isinstance(time, SourceFailed):
            # A time that cannot be read has the same reason, no matter which step fails to read it.
            if time.reason == "transform_failed":
                failed = SourceFailed("timestamp_invalid", time.sentence)
        elif time is not None:
            age = now - time.at
            limits = self.rules.deployment
            if age < -EARLY_LIMIT:
                failed = SourceFailed("timestamp_future", "is in the future")
            elif age > limits.max_age:
                failed = SourceFailed("event_too_old", f"is more than {limits.max_age.days} days ago")
            elif age > limits.warn_age:
                warnings = ("event_aging",)
        text = time.text if isinstance(time, EventTime) else None
        settled: EventTime | None = step.settle(run, failed or time, warnings=warnings, result=text)
        return settled


def _rejection(run: Run, event_id: str) -> Rejection:
    """Return the rejection with all problems of an event, a field once."""
    if not run.problems:  # only the plan of an incomplete draft
        return Rejection("mapping_not_published", None, None, "The mapping is incomplete.", event_id)
    first = run.problems[0]
    also = tuple(run.problems[1:MAX_PROBLEMS])
    return Rejection(first.reason, first.field, first.mapping_field, run.sentences[0], event_id, also=also)


_AD_STORAGE_ALONE = SourceFailed("consent_missing", "Amazon takes it only with consent to user data")


def _consent_steps(
    rule: consent.ConsentRule, signal: consent.Signal | consent.ConsentBlocked, run: Run
) -> list[Step]:
    """Return the steps of the consent check. The consent string is left out: it is personal."""
    if isinstance(signal, consent.ConsentBlocked):
        failed = SourceFailed(signal.reason, signal.sentence)
        sentence = detail(failed, signal.name, signal.source)
        return [Step(signal.name, signal.source, "gate", None, failed, True, sentence)]
    pair = signal.get("amazonConsent", {})
    sources = (
        ("consent.user_data", rule.user_data, pair.get("amznUserData")),
        ("consent.ad_storage", rule.ad_storage, pair.get("amznAdStorage")),
        ("consent.string", rule.string, "valid" if signal else None),
    )
    steps = [Step(name, source, "gate" if result else "absent", result) for name, source, result in sources]
    if not signal and rule.ad_storage and rule.ad_storage.read(run.content, run, consent.check_word):
        steps[1] = Step("consent.ad_storage", rule.ad_storage, "omitted", failed=_AD_STORAGE_ALONE)
    passed = Step("consent", rule.user_data or rule.string, "gate", rule.mode.value)
    return [*(step for step in steps if step.source), passed]
