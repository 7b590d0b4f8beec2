"""Match quality and reconciliation: from "Amazon shows fewer" to causes, each with its number and button.

Every form of the page is a POST that shows its result on the page; only what changes something redirects.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.incidents import list_incidents
from app.admin.mappings.drafts import change_draft, read_mapping
from app.admin.match_quality.dedupe import compare_ids, read_findings
from app.admin.match_quality.inputs import (
    CompareIdsRequest,
    ExplainGapRequest,
    ExplainHashRequest,
    ShadowRequest,
    TestConversionsRequest,
)
from app.admin.match_quality.marked_conversions import send_test_conversions
from app.admin.match_quality.match_keys import read_match_quality
from app.admin.match_quality.reconciliation import explain_reconciliation, read_reconciliation
from app.admin.match_quality.shadow import end_shadow, read_shadow, start_shadow
from app.admin.privacy.hash_value import explain_hash
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.page import PAGE, show_page
from app.console.form_view import FORM_ERRORS, problems_of
from app.console.gap_causes import DIFFERENCES, RULES, gap_causes, not_accepted
from app.domain.identity import MATCH_KEYS
from app.domain.incidents.kinds import Kind
from app.domain.mapping.fields import FIELDS
from app.domain.match_quality.match_keys import FORMULA, added
from app.store.destinations.destinations import Destination
from app.store.incidents import IncidentFilter

router = page_router()

HERE: Final = PAGE + "/match-quality"
_MOST_MAPPINGS: Final = 20
_MOST_DAYS: Final = 50
_QUICK_S, _LONG_S = 0.03, 20.0  # to count events
_KINDS: Final = (Kind.VALUE_SUSPECT, Kind.SCHEMA_DRIFT)
_RESULTS: Final = ("gap", "hash", "comparison", "test")
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


@router.get(HERE)
@requires(Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentVisit, found: CurrentDestination, count: Literal["all"] | None = None
) -> Response:
    """Show what Amazon should count, who it can recognise, and the faults of event ids.

    If there are too many events to count them at once, the page asks first.
    """
    return await _show(visit, found, seconds=_LONG_S if count == "all" else _QUICK_S)


@router.post(HERE + "/explain")
@requires(Scope.EVENTS_READ)
async def explain(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Explain the number that Amazon shows."""
    day, _, name = form.text("row").partition(" ")

    async def gap() -> Any:
        number = read_integer(form.text("amazon_count"))
        body = ExplainGapRequest.model_validate({"day": day, "event_name": name, "amazon_count": number})
        return await explain_reconciliation(
            visit.context, found.id, body.day, body.event_name, body.amazon_count
        )

    return await _answer(visit, found, form, "gap", gap)


@router.post(HERE + "/hash")
@requires(Scope.DESTINATIONS_READ)
async def check_hash(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Name the rule of a hash. Value and hash are only in the request body."""

    async def explanation() -> Any:
        names = ("field", "value", "hash", "country")
        body = {name: str(form.get(name) or "") or _DEFAULTS.get(name, "") for name in names}
        return explain_hash(ExplainHashRequest.model_validate(body))

    response = await _answer(visit, found, form, "hash", explanation)
    response.headers["Cache-Control"] = "no-store"
    return response


@router.post(HERE + "/compare")
@requires(Scope.EVENTS_READ)
async def compare(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Compare a list of ids, one a line."""

    async def comparison() -> Any:
        lines = str(form.get("ids") or "").replace("\r\n", "\n").split("\n")
        body = CompareIdsRequest.model_validate({"ids": [line for line in lines if line.strip()]})
        return await compare_ids(visit.context, found.id, body.ids, None, None)

    return await _answer(visit, found, form, "comparison", comparison)


@router.post(HERE + "/add")
@requires(Scope.DESTINATIONS_WRITE)
async def add_to_draft(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Add a row of the what-if list to the draft of its mapping, behind the field's present source."""
    mapping, field, path = (form.text(name) for name in ("mapping", "field", "path"))
    details = await read_mapping(visit.context, found.id, mapping)
    qualities = await read_match_quality(visit.context, found.id, limit=_MOST_MAPPINGS)
    row = next(
        (
            row
            for each in qualities
            if each.quality is not None and each.mapping.id == mapping
            for row in each.quality.what_if
            if (row.field, row.path) == (field, path)
        ),
        None,
    )
    if row is None:
        raise Refusal(ErrorCode.NOT_FOUND, "Recent events no longer have this path.")
    draft = added(details.mapping.draft, row)
    await change_draft(
        visit.context, found.id, mapping, {"fields": draft["fields"]}, {details.mapping.version}
    )
    return visit.done("match_key_added", f"{PAGE}/mappings/{mapping}")


@router.post(HERE + "/shadow")
@requires(Scope.DESTINATIONS_WRITE)
async def shadow(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Start or end the shadow of a mapping's draft."""
    mapping = form.text("mapping")
    if form.text("action") == "end":
        await end_shadow(visit.context, found.id, mapping)
        return visit.done("shadow_ended", HERE)
    try:
        percent = read_integer(form.text("percent"))
        body = ShadowRequest.model_validate(
            {"share": (percent or 0) / 100, "minutes": read_integer(form.text("minutes"))}
        )
        await start_shadow(visit.context, found.id, mapping, share=body.share, minutes=body.minutes)
    except FORM_ERRORS as error:
        problems, status = problems_of(error)
        return await _show(visit, found, {"shadow_problem": " ".join(problems.values())}, status=status)
    return visit.done("shadow_started", HERE)


@router.post(HERE + "/test")
@requires(Scope.DESTINATIONS_WRITE)
async def send_test(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Send test conversions to Amazon and show its answer."""

    async def sent() -> Any:
        body = TestConversionsRequest.model_validate(
            {
                "count": read_integer(form.text("count")),
                "dataset_name": form.text("dataset_name"),
                "event_name": form.text("test_name"),
            }
        )
        return await send_test_conversions(visit.context, found.id, body)

    return await _answer(visit, found, form, "test", sent)


async def _answer(
    visit: Visit, found: Destination, form: Form, name: str, result: Callable[[], Awaitable[Any]]
) -> Response:
    """Show the page with the result of one of its forms, or with the problems of its fields."""
    chosen = {field: form.text(field) or text for field, text in _DEFAULTS.items()}
    try:
        content = {name: await result(), "chosen": chosen}
    except FORM_ERRORS as error:
        problems, status = problems_of(error)
        return await _show(visit, found, {f"{name}_problems": problems, "chosen": chosen}, status=status)
    return await _show(visit, found, content)


async def _show(
    visit: Visit,
    found: Destination,
    content: dict[str, Any] | None = None,
    *,
    status: int = 200,
    seconds: float = _QUICK_S,
) -> Response:
    context = visit.context
    counted = await read_reconciliation(context, found.id, None, None, seconds=seconds)
    published = [
        (each.mapping, each.quality, await read_shadow(context, found.id, each.mapping.id))
        for each in await read_match_quality(context, found.id, limit=_MOST_MAPPINGS)
        if each.quality is not None
    ]
    wanted = [IncidentFilter(destination=found.id, kind=kind) for kind in _KINDS]
    newest = [await list_incidents(context, each, limit=1) for each in wanted]
    pairs = dict.fromkeys((row.day, row.kind.event_name) for row in counted.items if row.kind.event_name)
    given: dict[str, Any] = {
        "days": counted.items[:_MOST_DAYS],
        "complete": counted.complete,
        "choices": [(f"{day} {name}", f"{name} on {day}") for day, name in pairs],
        "amc_sql": counted.amc_sql,
        "published": published,
        "names": {mapping.id: mapping.name for mapping, _, _ in published},
        "rule_labels": RULES,
        "difference_labels": DIFFERENCES,
        "formula": FORMULA,
        "findings": await read_findings(context, found.id),
        "problems": [each for listed in newest for each in listed if each.incident.is_open],
        "fields": _HASH_FIELDS,
        "chosen": _DEFAULTS,
        "shadow_problem": "",
        **{each: None for name in _RESULTS for each in (name, f"{name}_problems")},
    }
    gap = (content or {}).get("gap")
    if gap is not None:
        qualities = [(mapping, quality) for mapping, quality, _ in published]
        address = f"/console/destinations/{found.id}"
        given["not_accepted"] = not_accepted(gap.counts, address)
        given["causes"] = gap_causes(gap.gap, qualities, given["findings"], address)
    return await show_page(visit, found, "match_quality.html", status=status, **{**given, **(content or {})})


def read_integer(text: str) -> int | None:
    """Return the number that a person typed, with or without separators of thousands; None if it is none."""
    digits = text.replace(",", "").replace(" ", "").replace("\u202f", "").replace("\xa0", "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 13 else None
