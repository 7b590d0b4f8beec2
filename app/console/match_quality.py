"""Match quality and reconciliation: from "Amazon shows fewer" to causes, each with its number and button.

Every form of the page is a POST that shows its result on the page; only what changes something redirects.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel
from starlette.responses import Response

from app.admin import Scope, require_found
from app.admin.context import AppContext
from app.admin.incidents import list_incidents
from app.admin.mappings.mappings import change_draft, read_mapping
from app.admin.match_quality.dedupe import CompareIdsRequest, compare_ids, read_findings
from app.admin.match_quality.marked_conversions import TestConversionsRequest, send_test_conversions
from app.admin.match_quality.match_keys import read_match_quality
from app.admin.match_quality.reconciliation import (
    ExplainGapRequest,
    explain_reconciliation,
    read_reconciliation,
)
from app.admin.match_quality.shadow import ShadowRequest, end_shadow, read_shadow, start_shadow
from app.admin.privacy.hash_value import ExplainHashRequest, explain_hash
from app.console.visits import FORM_ERRORS, PAGE, CurrentDestination, DestinationVisit, Form, PageRouter
from app.console.wording import match_key_label, number, read_integer
from app.domain.identity.keys import MATCH_KEYS
from app.domain.incidents.kinds import Kind
from app.domain.mapping.document import FIELDS
from app.domain.match_quality.dedupe import DedupeFinding, FindingKind, IdDifference
from app.domain.match_quality.match_keys import FORMULA, MatchQuality, added
from app.domain.match_quality.reconciliation import DayCounts
from app.store.incidents import IncidentFilter
from app.store.mappings import StoredMapping

router = PageRouter()

HERE: Final = PAGE + "/match-quality"
_MOST_MAPPINGS: Final = 20
_MOST_DAYS: Final = 50
_QUICK_S, _LONG_S = 0.03, 20.0  # to count events
_KINDS: Final = (Kind.VALUE_SUSPECT, Kind.SCHEMA_DRIFT)
_HASH_FIELDS: Final = [(rule.field, FIELDS[rule.field].label) for rule in MATCH_KEYS if rule.hashed]
# The text of each form's fields before it is sent.
_DEFAULTS: Final = {
    "row": "",
    "amazon_count": "",
    "field": "email",
    "country": "US",
    "dataset_name": "Test_Conversions",
    "test_name": "Test conversion",
    "count": "1",
}


@router.get(HERE, Scope.DESTINATIONS_READ)
async def page(visit: CurrentDestination, count: Literal["all"] | None = None) -> Response:
    """Show what Amazon should count, who it can recognise, and the faults of event ids.

    If counting the events takes longer than the page may, it asks first.
    """
    return await _show(visit, seconds=_LONG_S if count == "all" else _QUICK_S)


@router.post(HERE + "/explain", Scope.EVENTS_READ)
async def explain(visit: CurrentDestination, form: Form) -> Response:
    """Explain the number that Amazon shows."""
    day, _, name = form.text("row").partition(" ")
    given = {"day": day, "event_name": name, "amazon_count": _typed_integer(form.text("amazon_count"))}
    return await _answer(visit, form, "gap", ExplainGapRequest, given, explain_reconciliation)


@router.post(HERE + "/hash", Scope.DESTINATIONS_READ)
async def check_hash(visit: CurrentDestination, form: Form) -> Response:
    """Name the rule of a hash. Value and hash are only in the request body."""

    async def explained(context: AppContext, destination_id: str, body: ExplainHashRequest) -> Any:
        return explain_hash(body)

    names = ("field", "value", "hash", "country")
    given = {name: form.get(name) or _DEFAULTS.get(name, "") for name in names}
    return await _answer(visit, form, "hash", ExplainHashRequest, given, explained)


@router.post(HERE + "/compare", Scope.EVENTS_READ)
async def compare(visit: CurrentDestination, form: Form) -> Response:
    """Compare a list of ids, one a line."""
    lines = form.get("ids", "").replace("\r\n", "\n").split("\n")
    given = {"ids": [line for line in lines if line.strip()]}
    return await _answer(visit, form, "comparison", CompareIdsRequest, given, compare_ids)


@router.post(HERE + "/add", Scope.DESTINATIONS_WRITE)
async def add_to_draft(visit: CurrentDestination, form: Form) -> Response:
    """Add a row of the what-if list to the draft of its mapping, behind the field's present source."""
    mapping, field, path = (form.text(name) for name in ("mapping", "field", "path"))
    details = await read_mapping(*visit.on, mapping)
    qualities = await read_match_quality(*visit.on, limit=_MOST_MAPPINGS)
    quality = next((quality for stored, quality in qualities if stored.id == mapping), None)
    rows = quality.what_if if quality else ()
    row = next((row for row in rows if (row.field, row.path) == (field, path)), None)
    draft = added(details.mapping.draft, require_found(row, "Recent events no longer have this path."))
    await change_draft(*visit.on, mapping, {"fields": draft["fields"]}, {details.mapping.version})
    return visit.done("match_key_added", f"{PAGE}/mappings/{mapping}")


@router.post(HERE + "/shadow", Scope.DESTINATIONS_WRITE)
async def shadow(visit: CurrentDestination, form: Form) -> Response:
    """Start or end the shadow of a mapping's draft."""
    mapping = form.text("mapping")
    if form.text("action") == "end":
        await end_shadow(*visit.on, mapping)
        return visit.done("shadow_ended", HERE)
    try:
        percent, minutes = _typed_integer(form.text("percent")), _typed_integer(form.text("minutes"))
        body = ShadowRequest.model_validate({"share": (percent or 0) / 100, "minutes": minutes})
        await start_shadow(*visit.on, mapping, body)
    except FORM_ERRORS as error:
        return await _show(visit.refused(error), form, "shadow")
    return visit.done("shadow_started", HERE)


@router.post(HERE + "/test", Scope.DESTINATIONS_WRITE)
async def send_test(visit: CurrentDestination, form: Form) -> Response:
    """Send test conversions to Amazon and show its answer."""
    names = {"dataset_name": form.text("dataset_name"), "event_name": form.text("test_name")}
    given = {"count": _typed_integer(form.text("count")), **names}
    return await _answer(visit, form, "test", TestConversionsRequest, given, send_test_conversions)


async def _answer(
    visit: DestinationVisit,
    form: Form,
    name: str,
    kind: type[BaseModel],
    given: Mapping[str, Any],
    use_case: Callable[[AppContext, str, Any], Awaitable[Any]],
) -> Response:
    """Show the page with the result of one of its forms, or with the problems of its fields."""
    try:
        result = await use_case(*visit.on, kind.model_validate(given))
    except FORM_ERRORS as error:
        return await _show(visit.refused(error), form, name)
    return await _show(visit, form, name, result)


async def _show(
    visit: DestinationVisit,
    form: Form | None = None,
    name: str = "",
    result: Any = None,
    *,
    seconds: float = _QUICK_S,
) -> Response:
    """Show the page. `name` is that of the form that was sent, with its result or the error of the visit."""
    counted = await read_reconciliation(*visit.on, None, None, seconds=seconds)
    published = [
        (mapping, quality, await read_shadow(*visit.on, mapping.id))
        for mapping, quality in await read_match_quality(*visit.on, limit=_MOST_MAPPINGS)
        if quality is not None
    ]
    wanted = [IncidentFilter(destination=visit.destination.id, kind=kind) for kind in _KINDS]
    newest = [await list_incidents(visit.context, each, limit=1) for each in wanted]
    pairs = dict.fromkeys((row.day, row.kind.event_name) for row in counted.items if row.kind.event_name)
    findings, gap = await read_findings(*visit.on), result if name == "gap" else None
    qualities = [(mapping, quality) for mapping, quality, _ in published]
    return await visit.show(
        "match_quality.html",
        counted=counted,
        most_days=_MOST_DAYS,
        choices=[(f"{day} {name}", f"{name} on {day}") for day, name in pairs],
        published=published,
        names={mapping.id: mapping.name for mapping, _, _ in published},
        rule_labels=RULES,
        difference_labels=DIFFERENCES,
        formula=FORMULA,
        findings=findings,
        suspect=[each for listed in newest for each in listed if each.incident.is_open],
        fields=_HASH_FIELDS,
        chosen={field: (form and form.text(field)) or text for field, text in _DEFAULTS.items()},
        results={name: result},
        sent=name,
        not_accepted=not_accepted(gap.counts, visit.here) if gap else (),
        causes=gap_causes(gap.gap, qualities, findings, visit.here) if gap else (),
    )


def _typed_integer(text: str) -> int | None:
    """Return the number that a person typed, with or without separators of thousands; None if it is none."""
    digits = text.replace(",", "").replace(" ", "").replace("\u202f", "").replace("\xa0", "")
    return read_integer(digits, 13)


RULES: Final[Mapping[str, str]] = {
    "amazon": "Amazon’s",
    "e164_with_plus": "phone number with +",
    "national_number": "phone number without country code",
    "untrimmed": "with spaces around it",
    "upper_case": "with upper-case letters",
    "dots_removed": "without dots",
    "md5": "MD5",
    "sha1": "SHA-1",
    "double_hashed": "hashed twice",
    "base64": "base64",
    "segment": "Segment",
    "amazon_gtm": "Amazon’s tag template",
}
DIFFERENCES: Final[Mapping[str, str]] = {
    IdDifference.WHITESPACE: "spaces",
    IdDifference.CASE: "upper and lower case",
    IdDifference.TYPE_SUFFIX: "the event type at the end",
    IdDifference.PREFIX: "a prefix",
}


@dataclass(frozen=True, slots=True)
class GapCause:
    """A cause, the events that it concerns, and the link of its button."""

    sentence: str
    count: int
    button: str
    address: str


def not_accepted(counts: DayCounts, page: str) -> list[GapCause]:
    """Return why Amazon accepted no conversion of some events. `page` is the destination's address."""
    rejections, errors = f"{page}/rejections?range=30d", f"{page}/errors?range=30d"
    repeated = f"{rejections}&reason=event_id_conflict"
    found = (
        GapCause("without consent: not sent.", counts.without_consent, "View rejected", rejections),
        GapCause(
            "with the id of an earlier event: not sent.", counts.repeated_ids, "View rejected", repeated
        ),
        GapCause("that could not be converted: not sent.", counts.rejected, "View rejected", rejections),
        GapCause("refused by Amazon.", counts.amazon_refused, "View errors", errors),
        GapCause("failed, expired or erased here.", counts.failed, "View errors", errors),
        GapCause("still here.", counts.waiting, "Open overview", page),
    )
    return [cause for cause in found if cause.count]


def gap_causes(
    gap: int,
    published: Sequence[tuple[StoredMapping, MatchQuality]],
    findings: Sequence[DedupeFinding],
    page: str,
) -> list[GapCause]:
    """Return why Amazon may show another number of the conversions that it accepted."""
    names = {mapping.id: mapping.name for mapping, _ in published}
    found = list(_of_people(published)) if gap > 0 else []
    for each in findings:
        # An id that never meets the tag's makes Amazon show more; ids that events share make it show fewer.
        if gap and (gap < 0) is (each.kind is FindingKind.DERIVED):
            text = f"of mapping {names.get(each.mapping_id, '?')}: {each.sentence} {each.remedy}"
            found.append(GapCause(text, each.events, "Open mapping", f"{page}/mappings/{each.mapping_id}"))
    return [cause for cause in found if cause.count]


def _of_people(published: Sequence[tuple[StoredMapping, MatchQuality]]) -> Iterator[GapCause]:
    for mapping, quality in published:
        of = f"of the last {number(quality.events)} of mapping {mapping.name}"
        for key, each in quality.coverage.items():
            label = match_key_label(key)
            if key in quality.doubtful_keys:
                doubt = "came as a hash of an unknown rule. Amazon may recognise no person by it."
                yield GapCause(f"{of}: {label} {doubt}", each.came_hashed, "Check a hash", "#hash")
            text = f"{of}: {label} loses letters by Amazon’s rules. Another system may keep them."
            yield GapCause(text, each.changed, "Check a hash", "#hash")
        for row in quality.what_if[:1]:
            text = f"{of} would gain {FIELDS[row.field].label} from {row.path}."
            yield GapCause(text, row.events_gained, "View match keys", "#keys")
