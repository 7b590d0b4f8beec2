"""A duty cycle: who obeys its pauses uses no more CPU time than its part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pacing.duty_cycle import DutyCycle

PART, SAVED, OWED = 0.7, 0.005, 0.035


def duty_cycle() -> DutyCycle:
    return DutyCycle(PART, SAVED, OWED, elapsed_s=100.0, cpu_s=50.0)


@given(st.lists(st.tuples(st.floats(0, 0.02), st.floats(0, 0.01)), min_size=1, max_size=200))
def test_the_used_time_stays_within_the_part(steps: list[tuple[float, float]]) -> None:
    """Each step uses CPU, makes the returned pause, then idles. Only the time saved before is added."""
    duty, now, cpu = duty_cycle(), 100.0, 50.0
    for used, idle in steps:
        now, cpu = now + used, cpu + used
        now += duty.pause_s(now, cpu) + idle
    assert cpu - 50.0 <= PART * (now - 100.0) + SAVED + 1e-6


def test_a_pause_pays_the_debt_and_no_more() -> None:
    duty = duty_cycle()
    pause = duty.pause_s(100.01, 50.01)
    assert pause == pytest.approx((0.01 - 0.007) / PART)
    assert duty.pause_s(100.01 + pause, 50.01) == pytest.approx(0.0, abs=1e-9)


def test_idle_time_saves_a_little_only() -> None:
    duty = duty_cycle()
    assert duty.pause_s(1_000.0, 50.0) == 0.0
    assert duty.pause_s(1_000.1, 50.1) == pytest.approx((0.1 - 0.07 - SAVED) / PART)


def test_a_busy_hour_leaves_a_bounded_debt() -> None:
    duty = duty_cycle()
    assert duty.pause_s(3_700.0, 3_650.0) == pytest.approx(OWED / PART)
