"""What every page says of an event agrees with what Amazon's stand-in logged, whatever happened meanwhile."""

import pytest

from app.domain.outcomes.outcome import OUTCOMES
from campaigns.agreement import compare


@pytest.mark.campaign
async def test_histories_lists_and_stats_agree_with_the_log_of_the_stand_in(database_url: str) -> None:
    """Under random faults, pauses, replays and erasures; the long form is a command (docs/evidence)."""
    report = await compare(database_url, events=150, seed=3)
    assert report.disagreements == [], "\n".join(report.lines())
    # The run met what it is about.
    assert report.replayed
    assert report.erased_after_delivery
    assert set(OUTCOMES.values()) - {"not_sent"} == report.outcomes.keys()
