"""What a backtest may say of one event whose real conversions are known."""

from app.admin.mappings.trials import summary
from app.domain.conversion.convert import Conversion
from app.domain.event import Rejection
from app.domain.observed.backtest import Backtest
from app.domain.observed.differences import refused_fields, sent_facts
from app.domain.observed.schema_sample import SampleGroup, SchemaSample


def group_of(sample: SchemaSample, outcome: Conversion | Rejection, *, version: int = 1) -> SampleGroup:
    """Return the group of one event, as it is stored after its conversion."""
    if isinstance(outcome, Rejection):
        return SampleGroup({sample: 1}, {}, version=version, accepted=False, facts=refused_fields(outcome))
    keys, facts = outcome.match_keys, sent_facts(outcome)
    return SampleGroup({sample: 1}, {}, version=version, match_keys=keys, facts=facts)


def wrong_verdict(
    found: Backtest, before: Conversion | Rejection, after: Conversion | Rejection
) -> str | None:
    """Return what the backtest says wrongly of an event or, where nothing is unclear, leaves out."""
    was = before if isinstance(before, Conversion) else None
    becomes = after if isinstance(after, Conversion) else None
    is_lost, is_new = bool(was and not becomes), bool(becomes and not was)
    if bool(found.rejected) > is_lost or bool(found.newly_accepted) > is_new:
        return "called rejected or accepted, which it is not"
    if not found.unclear_events and (bool(found.rejected), bool(found.newly_accepted)) != (is_lost, is_new):
        return "a rejection or acceptance is missing"
    if was and becomes:
        lost = set(was.match_keys) - set(becomes.match_keys)
        gained = set(becomes.match_keys) - set(was.match_keys)
        if not (set(found.lost) <= lost and set(found.gained) <= gained):
            return "a match key is called lost or gained that is not"
        if not found.unclear_events and (set(found.lost), set(found.gained)) != (lost, gained):
            return "a lost or gained match key is missing"
    elif found.lost or found.gained or found.changed:
        return "something is called changed in an event that is not sent before and after"
    differs = is_lost or is_new or (was and becomes and was.body != becomes.body)
    return "nothing is called changed" if differs and "nothing changes" in summary(found) else None
