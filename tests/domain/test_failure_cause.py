"""The cause of a failure is equal for equal answers of Amazon, in Python and in Postgres."""

import asyncpg
import pytest

from app.domain.outcomes.reasons import NO_ANSWER, failure_cause
from app.store.events.failures import CAUSE

ANSWERS = [
    (None, None),
    ("BAD_REQUEST", None),
    ("BAD_REQUEST", "events[3]: The value is not valid."),
    ("BAD_REQUEST", "events[417].userData: not valid, see events[417]"),
    ("BAD_REQUEST", "Grün\u00a0\tund\n'quoted' \\d {}"),
    (None, "events[9]"),
]


def test_the_position_in_the_request_does_not_matter() -> None:
    """Code and message do."""
    assert failure_cause("A", "events[1]: No.") == failure_cause("A", "events[22]: No.")
    assert failure_cause("A", "No.") != failure_cause("B", "No.") != failure_cause("B", "Yes.")
    assert failure_cause(None, None) == failure_cause(None, "") == NO_ANSWER


@pytest.mark.parametrize(("code", "message"), ANSWERS)
async def test_postgres_finds_the_same_cause(
    owner: asyncpg.Connection, code: str | None, message: str | None
) -> None:
    """The list filters in Python, a replay in SQL."""
    found = await owner.fetchval(
        f"SELECT {CAUSE} FROM (SELECT $1::text AS amazon_code, $2::text AS amazon_message) e", code, message
    )
    assert found == failure_cause(code, message)
