"""The words of the page of match quality, and the causes of a gap to Amazon's number. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.console.wording import match_key_label, number
from app.domain.mapping.fields import FIELDS
from app.domain.match_quality.dedupe import DedupeFinding, FindingKind, IdDifference
from app.domain.match_quality.match_keys import MatchQuality
from app.domain.match_quality.reconciliation import DayCounts
from app.store.mappings import StoredMapping

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
        GapCause("with another fault: not sent.", counts.rejected, "View rejected", rejections),
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
                text = (
                    f"{of}: {label} came as a hash of an unknown rule. Amazon may recognise no person by it."
                )
                yield GapCause(text, each.came_hashed, "Check a hash", "#hash")
            text = f"{of}: {label} loses letters by Amazon’s rules. Another system may keep them."
            yield GapCause(text, each.changed, "Check a hash", "#hash")
        for row in quality.what_if[:1]:
            text = f"{of} would gain {FIELDS[row.field].label} from {row.path}."
            yield GapCause(text, row.events_gained, "View match keys", "#keys")
