"""A synchronous standby takes over from a primary that died under load, and nothing acknowledged is lost.

About half a minute each. The long form is `./run campaign failover` (docs/campaigns.md).
"""

from dataclasses import replace

import pytest

from campaigns.chaos.failover import line, play
from dev.drills.failover import Failover


def test_what_was_acknowledged_is_on_the_standby_and_goes_on_from_there() -> None:
    """The service finds the new primary automatically, and delivers every event."""
    found = play(1)
    assert found.passed, line(1, found)
    assert found.accepted > 500
    assert found.promoted_s < 30


def test_a_forged_record_is_found_out() -> None:
    """A lost event, a changed one, and one that Amazon got without a 202 each break a promise."""
    honest = Failover(9, 1, 9, 0, 0, {"other_bytes": 0}, {"delivered": 9}, 1.0, 2.0)
    assert honest.passed
    assert not replace(honest, lost=1).passed
    assert not replace(honest, unaccepted=1).passed
    assert not replace(honest, totals={"other_bytes": 1}).passed


@pytest.mark.long
def test_a_standby_that_is_not_waited_for_loses() -> None:
    """The control: were nothing lost here, the two would never have been apart."""
    found = play(1, synchronous=False)
    assert found.lost, line(1, found)
