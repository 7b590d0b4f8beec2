"""The condition of a destination: the SQL of the home page follows the rules of the domain."""

import asyncpg

from app.domain.incidents.destination_condition import RULES, Condition, Fact
from app.store.destinations.health import condition_sql

FACTS = [fact for fact in Fact if fact is not Fact.ANYTHING]


def condition_of(true: set[Fact]) -> Condition:
    """Return the condition in words of its own: what a person at the home page would expect."""
    if Fact.ARCHIVED in true:
        return Condition.DELETED
    if true & {Fact.SIGN_IN_LOST, Fact.CRITICAL}:
        return Condition.NEEDS_ATTENTION
    if Fact.PAUSED in true:
        return Condition.PAUSED
    if Fact.WARNING in true:
        return Condition.NEEDS_ATTENTION
    if Fact.STALLED in true:
        return Condition.STALLED
    if Fact.OPEN_INCIDENT in true:
        return Condition.RECOVERING
    if Fact.NOT_ACTIVE in true:
        return Condition.SETUP
    return Condition.HEALTHY if Fact.RECENT_EVENT in true else Condition.IDLE


async def test_the_sql_decides_as_the_rules_for_all_facts(owner: asyncpg.Connection) -> None:
    """All 512 combinations; a fact that is unknown (null) counts as false."""
    tables = ", ".join(f"(VALUES (true), (NULL)) AS {fact} (yes)" for fact in FACTS)
    names = ", ".join(f"{fact}.yes AS {fact}" for fact in FACTS)
    condition = condition_sql({Fact.ANYTHING: "true"} | {fact: f"{fact}.yes" for fact in FACTS})
    rows = await owner.fetch(f"SELECT {condition} AS condition, {names} FROM {tables}")
    assert len(rows) == 2 ** len(FACTS)
    for row in rows:
        true = {fact for fact in FACTS if row[fact.value]}
        assert row["condition"] == condition_of(true), true


def test_each_condition_and_each_fact_has_a_rule() -> None:
    """The last rule holds for every destination."""
    assert {condition for _, condition in RULES} == set(Condition)
    assert [fact for fact, _ in RULES if fact is not Fact.ANYTHING] == sorted(
        FACTS, key=[fact for fact, _ in RULES].index
    )
    assert RULES[-1][0] is Fact.ANYTHING
