"""The view of a suggested mapping: the reason for each row, and what a person has to decide. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.console.mappings.field_results import row_of
from app.console.mappings.problem_view import ProblemView, problem_views
from app.console.wording import share
from app.domain.suggestions.suggest import Suggestion

UNDECIDED: Final[Mapping[str, str]] = {
    "assumed_website": "The events do not say where they happen. Choose the source.",
    "confirm_meaning_of_consent": "Check that this field means consent to advertising.",
    "confirm_that_all_consented": (
        "The events carry no consent. Confirm that only people who agreed are sent, or send the consent."
    ),
    "decimal_sign": "A number such as 1.234 can be read in two ways. Check the number form.",
    "event_name_unknown": "The name of the events is unknown, so the type is a guess. Choose it.",
    "may_be_hundredths": "All amounts are whole. If they are cents, add the transform divide 100.",
    "missing_in_some_events": "Some events have no country and will be rejected. Send it, or add a default.",
    "no_match_key": "No email address or other match key was found. Map at least one.",
    "not_found": "Nothing that fits was found. Choose the event field.",
    "order_of_day_and_month": "The dates do not show whether the day comes first. Check the time formats.",
    "several_event_types": "The events have several names. Use one mapping for each.",
    "several_formats": "The times have several forms; only the most frequent one can be read.",
    "zone_needed": "The times name no time zone. Enter it under the sample event, and suggest again.",
}


@dataclass(frozen=True, slots=True)
class SuggestionView:
    """`reasons` are by the name of the row on the form."""

    reasons: Mapping[str, str]
    undecided: Sequence[ProblemView]


def suggestion_view(suggestion: Suggestion | None) -> SuggestionView:
    """Return the view of a suggestion, or an empty one."""
    if suggestion is None:
        return SuggestionView({}, ())
    custom = {row["name"]: number for number, row in enumerate(suggestion.mapping.get("custom_data", ()))}
    reasons = {
        row_of(row.field, custom): row.reason
        + ("" if row.share == 1 else f" Usable in {share(round(row.share * 10_000), 10_000)} of the events.")
        for row in suggestion.rows
    }
    sentences = ((row_of(each.field), UNDECIDED[each.reason]) for each in suggestion.undecided)
    return SuggestionView(reasons, problem_views(sentences))
