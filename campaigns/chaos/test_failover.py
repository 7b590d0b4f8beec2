"""A synchronous standby takes over from a primary that died under load, and nothing acknowledged is lost.

About half a minute each. The long form is `./run campaign failover` (docs/campaigns.md).
"""

import pytest

from campaigns.chaos.campaign import tell
from campaigns.chaos.failover import fail_over

EVENTS = 600


async def test_what_was_acknowledged_is_on_the_standby_and_goes_on_from_there() -> None:
    """The service finds the new primary by itself; every event ends once, and a fresh one flows."""
    report, promoted_after = await fail_over(1, EVENTS)
    tell(report)
    assert report.objections == [], report.line()
    assert report.delivered > 0.9 * EVENTS
    assert 0 < promoted_after < 30


@pytest.mark.long
async def test_a_standby_that_is_not_waited_for_loses() -> None:
    """The control: were nothing lost here, the two would never have been apart."""
    report, _ = await fail_over(1, EVENTS, synchronous=False)
    assert "acknowledged_is_stored" in {objection.rule for objection in report.objections}, report.line()
