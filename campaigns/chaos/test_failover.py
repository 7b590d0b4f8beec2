"""A synchronous standby takes over from a primary that died under load, and nothing acknowledged is lost.

About half a minute each. The long form is `./run campaign failover` (docs/campaigns.md).
"""

import pytest

from campaigns.chaos.failover import line, play


def test_what_was_acknowledged_is_on_the_standby_and_goes_on_from_there() -> None:
    """The service finds the new primary automatically, and delivers every event."""
    found = play(1)
    assert found.passed, line(1, found)
    assert found.accepted > 500
    assert found.promoted_s < 30


@pytest.mark.long
def test_a_standby_that_is_not_waited_for_loses() -> None:
    """The control: were nothing lost here, the two would never have been apart."""
    found = play(1, synchronous=False)
    assert found.lost, line(1, found)
