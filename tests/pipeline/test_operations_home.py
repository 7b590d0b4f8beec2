"""The operations home: one condition for each destination, the worst first. The page of one destination.

Its charts read the history of outcomes: every change is in one bucket of each width, and old buckets go.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.console.time_range import RangeName, bucket_start, time_range
from app.domain.ids import DestinationNumber, OrganisationId
from app.domain.incidents.health import Condition
from app.store.destinations import figures, health, outcome_history
from app.store.destinations.health import DestinationListing, PageQuery, Sort
from app.store.destinations.outcome_history import RETENTION, OutcomeBucket
from app.store.organisations.scope import scoped_pool
from tests.pipeline.amazon import refuse_odd
from tests.pipeline.service import Service
from tests.pipeline.world import World, event, eventually

DAY = timedelta(days=1)


async def listing(world: World, organisation: str = "default", **query: Any) -> DestinationListing:
    defaults = {"since": datetime.now(UTC) - DAY, "width": timedelta(minutes=15), "limit": 50}
    async with scoped_pool(world.resources.pool, OrganisationId(organisation)).acquire() as connection:
        return await health.page(connection, PageQuery(**{**defaults, **query}))


async def conditions(world: World) -> dict[str, Condition]:
    return {item.name: item.condition for item in (await listing(world)).items}


async def incident(
    world: World, destination: str, kind: str, severity: str, *, seen: int = 0, resolved: int | None = None
) -> None:
    """Write an incident whose condition was found `seen` seconds ago, and that may have been resolved."""
    await world.fetch(
        "INSERT INTO incidents (organisation_id, id, destination, kind, severity, state, opened_at,"
        "  last_seen_at, resolved_at, summary, affected_events) "
        "SELECT 'default', 'inc_' || md5(random()::text), $1, $2, $3,"
        "  CASE WHEN $5::int IS NULL THEN 'open' ELSE 'resolved' END, now() - interval '1 hour',"
        "  now() - make_interval(secs => $4::int), now() - make_interval(secs => $5::int), 'Summary.', 7",
        *(destination, kind, severity, seen, resolved),
    )


async def fleet(world: World) -> dict[str, str]:
    """Make one destination per condition and return their ids by name."""
    await world.fetch("INSERT INTO commit_probes (id, at) VALUES (1, now())")
    ids = {}
    for number, name in enumerate(
        ("critical", "warning", "fading", "resolved", "long resolved", "paused", "broken", "idle", "draft")
    ):
        ids[name] = await world.destination(advertiser=str(5_000_000_000 + number))
        await world.fetch("UPDATE destinations SET name = $2 WHERE id = $1", ids[name], name)
    await incident(world, ids["critical"], "failing", "critical")
    await incident(world, ids["warning"], "backlog", "warning")
    await incident(world, ids["fading"], "failing", "critical", seen=20)
    await incident(world, ids["resolved"], "backlog", "warning", seen=300, resolved=270)
    await incident(world, ids["long resolved"], "backlog", "warning", seen=3_000, resolved=2_900)
    await world.fetch("UPDATE destinations SET paused = true WHERE id = $1", ids["paused"])
    await world.fetch(
        "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked' WHERE id = $1", ids["broken"]
    )
    await world.fetch(
        "UPDATE destinations SET sign_in = 'none', published_mappings = 0 WHERE id = $1", ids["draft"]
    )
    await world.fetch(
        "INSERT INTO counts (destination, day, writer, accepted) "
        "SELECT number, (now() AT TIME ZONE 'UTC')::date, 32767, 1 FROM destinations WHERE name <> 'idle'"
    )
    return ids


async def test_each_destination_has_one_condition(world: World) -> None:
    """Recovering: the incident is open, but the monitor does not find its condition any more."""
    await fleet(world)
    assert await conditions(world) == {
        "critical": Condition.NEEDS_ATTENTION,
        "broken": Condition.NEEDS_ATTENTION,
        "warning": Condition.NEEDS_ATTENTION,
        "fading": Condition.RECOVERING,
        "resolved": Condition.HEALTHY,
        "paused": Condition.PAUSED,
        "draft": Condition.SETUP,
        "idle": Condition.IDLE,
        "long resolved": Condition.HEALTHY,
    }


@pytest.mark.parametrize(
    ("age", "delivered", "failed", "name", "expected"),
    [
        (40, 0, 3, "long resolved", Condition.STALLED),
        (40, 0, 3, "fading", Condition.STALLED),
        (40, 0, 0, "long resolved", Condition.HEALTHY),
        (90, 0, 0, "long resolved", Condition.STALLED),
        (90, 5, 3, "long resolved", Condition.HEALTHY),
        (90, 5, 3, "fading", Condition.RECOVERING),
        (90, 0, 3, "paused", Condition.PAUSED),
        (90, 0, 3, "critical", Condition.NEEDS_ATTENTION),
    ],
)
async def test_a_queue_that_delivers_nothing_is_stalled_before_an_incident_opens(
    world: World, age: float, delivered: int, failed: int, name: str, expected: Condition
) -> None:
    """Throttling and time-outs take minutes to become an incident; the home page shows them at once.

    The recording may be of the minute before, in which events were still delivered: the requests tell.
    """
    ids = await fleet(world)
    await oldest_waits(world, ids[name], age)
    await world.add_attempt(ids[name], began=30, settled=30, delivered=5)
    if delivered:
        await world.add_attempt(ids[name], began=0, settled=0, delivered=delivered)
    if failed:
        await world.add_attempt(ids[name], began=1, settled=1, outcome="throttled")
    (item,) = (item for item in (await listing(world)).items if item.name == name)
    assert item.condition is expected
    newest = "throttled" if failed else "answered"
    assert item.outcome == (newest if expected is Condition.STALLED else None)


@pytest.mark.parametrize(
    ("age", "unanswered", "delivered_ago", "expected"),
    [
        (16, 16, 30, Condition.STALLED),  # Amazon does not answer; the time-out is 30 seconds
        (16, 8, 30, Condition.HEALTHY),  # the request began late
        (14, 14, 30, Condition.HEALTHY),
        (18, 18, 12, Condition.HEALTHY),  # slow answers: others still arrive
        (40, 5, 30, Condition.HEALTHY),
    ],
)
async def test_a_request_without_an_answer_stalls_before_its_time_out(
    world: World, age: float, unanswered: float, delivered_ago: float, expected: Condition
) -> None:
    """A healthy destination may answer slowly: it delivers in between."""
    id_ = (await fleet(world))["long resolved"]
    await oldest_waits(world, id_, age)
    await world.add_attempt(id_, began=40, settled=delivered_ago, delivered=5)
    await world.add_attempt(id_, began=unanswered, settled=None)
    assert (await conditions(world))["long resolved"] is expected


async def oldest_waits(world: World, destination: str, age: float) -> None:
    """Record the age of the oldest waiting event, in a minute in which events were still delivered."""
    await world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, delivered,"
        "  oldest_waiting_seconds) "
        "SELECT 'default', number, 60, now() - interval '20 seconds', 9, $2::real "
        "FROM destinations WHERE id = $1",
        *(destination, age),
    )


async def test_a_destination_that_was_reconnected_recovers_at_once(service: Service) -> None:
    """The monitor needs some seconds to notice; the destination's own page already says so."""
    world = service.world
    ids = await fleet(world)
    await incident(world, ids["idle"], "sign_in_lost", "critical")
    await incident(world, ids["broken"], "sign_in_lost", "critical")
    found = await conditions(world)
    assert (found["idle"], found["broken"]) == (Condition.RECOVERING, Condition.NEEDS_ATTENTION)
    page = await service.console()
    incidents = page[page.index('class="incidents"') : page.index("Your destinations")]
    assert f'action="/console/destinations/{ids["broken"]}/connect"' in incidents
    assert f'action="/console/destinations/{ids["idle"]}/connect"' not in incidents


async def test_the_diagnosis_agrees_with_the_label(service: Service) -> None:
    """Only without an open incident, the page of a destination says that it is healthy."""
    ids = await fleet(service.world)
    for name, diagnosis in (
        ("warning", "Degraded. 1 open incident."),
        ("fading", "Recovering. The problem is no longer observed."),
        ("resolved", "Healthy."),
    ):
        page = await service.console(f"/destinations/{ids[name]}")
        found = re.search(r'class="diagnosis">\s*<p><strong>([^<]+)', page)
        assert found is not None
        assert found[1].startswith(diagnosis)


async def test_the_worst_come_first_and_filters_apply(world: World) -> None:
    """The counts of the strip stay those of all destinations."""
    await fleet(world)
    names = [item.name for item in (await listing(world)).items]
    assert set(names[:2]) == {"critical", "broken"}
    assert names[2] == "warning"
    assert names[3:5] == ["fading", "paused"]
    found = await listing(world, condition=Condition.HEALTHY, sort=Sort.NAME, limit=1, offset=1)
    assert [item.name for item in found.items] == ["resolved"]
    assert (found.matching, found.conditions[Condition.NEEDS_ATTENTION]) == (2, 3)
    beyond = await listing(world, offset=500)
    assert (beyond.items, beyond.matching) == ((), 9)
    assert [item.name for item in (await listing(world, search="RIT")).items] == ["critical"]


async def test_a_destination_sorts_by_what_the_range_delivered(world: World) -> None:
    ids = await fleet(world)
    await world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, delivered, dead) "
        "SELECT 'default', number, width, date_bin(make_interval(secs => width), at, '2000-01-01 00:00Z'),"
        "  events, events FROM destinations, unnest($2::int[]) AS width,"
        "  (VALUES (now() - interval '2 hours', 7), (now() - interval '3 days', 99)) AS x (at, events) "
        "WHERE id = $1 OR events = 99",
        ids["idle"],
        [int(width.total_seconds()) for width in outcome_history.RETENTION],
    )
    for sort in (Sort.DELIVERED, Sort.FAILED, Sort.BACKLOG):
        assert len((await listing(world, sort=sort)).items) == 9
    assert (await listing(world, sort=Sort.DELIVERED)).items[0].name == "idle"


@pytest.mark.parametrize("name", list(RangeName))
def test_the_widest_buckets_cover_a_range_once(name: RangeName) -> None:
    """Without a gap, each part with whole buckets, and with far fewer of them."""
    for minute in range(0, 3 * 1440, 7):
        chosen = time_range(name, datetime(2026, 11, 24, tzinfo=UTC) + timedelta(minutes=minute))
        parts = outcome_history.widest_buckets(chosen.since, chosen.name.bucket)
        assert parts[0][:2] == (chosen.name.bucket, chosen.since) or parts[0][1] == chosen.since
        assert [end for _, _, end in parts] == [*(begin for _, begin, _ in parts[1:]), None]
        for width, begin, end in parts:
            assert bucket_start(begin, width) == begin
            assert end is None or bucket_start(end, width) == end
        rows = sum(((end or chosen.until) - begin) // width + 1 for width, begin, end in parts)
        assert rows <= 32


async def test_an_organisation_sees_its_own_destinations_only(world: World) -> None:
    await fleet(world)
    foreign = await listing(world, organisation="acme")
    assert (foreign.items, sum(foreign.conditions.values())) == ((), 0)
    only = [(await listing(world)).items[0].id]
    limited = await listing(world, only=only)
    assert [item.id for item in limited.items] == only
    assert sum(limited.conditions.values()) == 1


async def test_the_page_has_the_strip_and_one_button_per_incident(service: Service) -> None:
    """A click on it is a form with its token, or a link; the search works as a plain form."""
    world = service.world
    ids = await fleet(world)
    await incident(world, ids["broken"], "sign_in_lost", "critical")
    page = await service.console()
    assert re.search(r"<b>3</b> need attention", page)
    assert re.search(r"<b>1</b> recovering", page)
    incidents = page[page.index('class="incidents"') : page.index("Your destinations")]
    assert incidents.count("<li>") == 4
    assert incidents.index("Sign-in lost") < incidents.index("Events wait too long")
    assert f'action="/console/destinations/{ids["broken"]}/connect"' in incidents
    assert ">Acknowledge</button>" in incidents
    assert "Incidents are not up to date" not in page
    found = await service.console(q="Amazon Conversions API", health="", sort="", range="")
    assert 'href="/console/destinations/new"' in found[found.index('id="catalogue"') :]
    assert "No matches" in found
    filtered = await service.console(health="recovering", range="7d", sort="name")
    assert re.findall(r"<bdi>(\w+)</bdi></a><br>", filtered) == ["fading"]


@pytest.mark.parametrize("name", ["1h", "6h", "24h", "7d", "30d"])
async def test_tiles_of_each_range_count_what_was_recorded_and_what_was_not(
    service: Service, name: str
) -> None:
    """The monitor records every 15 seconds; a reader adds the rest."""
    world = service.world
    dst = await world.destination(event(1), event(2))
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await outcome_history.record(connection, {})
    await world.post(dst, event(3))

    async def three() -> bool:
        page = await service.console(f"/destinations/{dst}", range=name)
        accepted = re.search(r"<b>([\d,]+)</b><span>Accepted", page)
        assert accepted is not None
        return accepted[1] == "3"

    await eventually(three)


async def test_acknowledging_on_the_home_page_returns_to_it(service: Service) -> None:
    world = service.world
    ids = await fleet(world)
    page = await service.console()
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    chosen = re.search(r'name="incident" value="([^"]+)"', page)
    assert token is not None
    assert chosen is not None
    answer = await service.form(
        "/console/incidents/acknowledge", csrf=token[1], incident=chosen[1], home="yes"
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    (row,) = await world.fetch("SELECT state, destination FROM incidents WHERE id = $1", chosen[1])
    assert (row["state"], row["destination"]) == ("acknowledged", ids["critical"])


async def test_the_diagnosis_and_the_tiles_show_one_share_of_rejected_events(service: Service) -> None:
    """Both divide by the received events, repeated ones included, as the incident does."""
    world = service.world
    dst = await world.destination(event(1), event(2))
    await world.post(dst, event(1), event(2), {**event(3), "event": {"name": "addToCart"}})

    async def shares() -> bool:
        page = await service.console(f"/destinations/{dst}", range="1h")
        diagnosed = re.search(r"(\d+)\s%\sof the events of the last hour were rejected", page)
        compared = re.search(r"rejected</a> \((\d+)\s%\)", page)
        return diagnosed is not None and compared is not None and diagnosed[1] == compared[1] == "20"

    await eventually(shares)


async def test_a_fault_began_with_its_first_request(service: Service) -> None:
    """Not with the oldest of the newest twenty, and not before the last answered one."""
    world = service.world
    dst = await world.destination(event(1))
    for minutes in range(1, 61):
        outcome = "answered" if minutes == 50 else "broken"
        await world.add_attempt(dst, began=60 * minutes, settled=60 * minutes, outcome=outcome)
    ((first,),) = await world.fetch(
        "SELECT started_at FROM attempts ORDER BY started_at DESC OFFSET 48 LIMIT 1"
    )
    await world.add_attempt(dst, outcome="not_sent")
    page = await service.console(f"/destinations/{dst}")
    assert 'class="notice good"' not in page
    assert page.index("The last 49 requests failed.") < page.index("Connected to Amazon")
    assert f'Since <time datetime="{first.isoformat()}"' in page


async def test_the_figures_of_a_page_are_of_one_moment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is accepted between two statements is in none of them: no part exceeds the whole."""
    world = service.world
    dst = await world.destination(event(1))
    read, later = outcome_history.buckets, [event(2)]

    async def read_slowly(*arguments: Any, **options: Any) -> Any:
        found = await read(*arguments, **options)
        if later:
            await world.post(dst, later.pop())
        return found

    monkeypatch.setattr(outcome_history, "buckets", read_slowly)
    page = await service.console(f"/destinations/{dst}")
    assert not later
    assert re.search(r"<b>1</b><span>Accepted", page)
    assert "1 accepted = " in page


async def count(world: World, number: int, **changes: int) -> None:
    """Change the counts of today, as the pipeline does."""
    names, values = list(changes), list(changes.values())
    columns, places = ", ".join(names), ", ".join(f"${n + 2}" for n in range(len(names)))
    await world.fetch(
        f"INSERT INTO counts AS c (destination, day, writer, {columns}) "
        f"VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1, {places}) "
        "ON CONFLICT (destination, day, writer) DO UPDATE SET "
        + ", ".join(f"{name} = c.{name} + excluded.{name}" for name in names),
        number,
        *values,
    )


async def record(world: World, waiting: dict[DestinationNumber, float] | None = None) -> None:
    async with world.resources.pool.acquire() as connection, connection.transaction():
        await outcome_history.record(connection, waiting or {})


async def total(world: World, number: DestinationNumber, width: timedelta) -> OutcomeBucket:
    since = datetime.now(UTC) - 2 * width
    async with world.pool.acquire() as connection:
        found = (await outcome_history.buckets(connection, [number], width=width, since=since))[number]
    names = ("accepted", "rejected", "delivered", "dead", "requests", "failed_requests", "retried")
    sums = {name: sum(getattr(bucket, name) for bucket in found) for name in names}
    ages = [bucket.oldest_waiting_seconds for bucket in found if bucket.oldest_waiting_seconds]
    return OutcomeBucket(number, since, **sums, oldest_waiting_seconds=max(ages, default=None))


async def test_each_change_is_counted_once_in_every_width(world: World) -> None:
    """Recorded twice or not yet recorded, the sum is the same."""
    number = await world.number(await world.destination())
    await count(world, number, accepted=10, delivered=4, rejected=3)
    await record(world)
    await record(world)
    await count(world, number, delivered=5)
    for width in RETENTION:
        found = await total(world, number, width)
        assert (found.accepted, found.delivered, found.rejected) == (10, 9, 3), width


async def test_a_replay_takes_no_failure_back(world: World) -> None:
    """What failed has failed in its bucket; afterwards it fails again or is delivered."""
    number = await world.number(await world.destination())
    await count(world, number, accepted=10, dead=10)
    await record(world)
    await count(world, number, dead=-10)
    await record(world)
    await count(world, number, dead=2, delivered=8)
    await record(world)
    found = await total(world, number, timedelta(days=1))
    assert (found.dead, found.delivered) == (12, 8)


async def test_requests_and_waiting_events_are_recorded(world: World, dst: str) -> None:
    """A request counts once; the newest seconds are left to the next recording."""
    number = await world.number(dst)
    await world.fetch(
        "INSERT INTO commit_probes (id, at, outcomes_recorded_at) "
        "VALUES (1, now(), now() - interval '60 seconds')"
    )
    for seconds, outcome in ((1, "broken"), (20, "answered"), (31, "broken"), (90, "answered")):
        await world.add_attempt(dst, began=seconds, settled=seconds, outcome=outcome)
    await record(world, {number: 42.0})
    await record(world, {number: 7.0})
    found = await total(world, number, timedelta(days=1))
    assert (found.requests, found.failed_requests, found.retried) == (2, 1, 5)
    assert found.oldest_waiting_seconds == 42.0


async def test_a_queue_that_was_drained_does_not_stall(world: World, dst: str) -> None:
    """The home page shows the age that was recorded last, not the highest of its minute."""
    number = await world.number(dst)
    shown = []
    for changes, waiting in (({"accepted": 5}, {number: 90.0}), ({"delivered": 5}, {})):
        await count(world, number, **changes)
        await record(world, waiting)
        (item,) = (await listing(world)).items
        shown.append((item.condition, item.oldest_waiting_seconds))
    assert shown == [(Condition.STALLED, 90.0), (Condition.HEALTHY, None)]


async def test_old_buckets_are_deleted(world: World) -> None:
    number = await world.number(await world.destination())
    await world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at) "
        "SELECT 'default', $1, s, now() - k + interval '1 minute' * n FROM unnest($2::int[], $3::interval[]) "
        "AS w (s, k), unnest(ARRAY[-1, 1]) n",
        number,
        [int(width.total_seconds()) for width in RETENTION],
        list(RETENTION.values()),
    )
    async with world.resources.pool.acquire() as connection:
        await outcome_history.forget(connection)
    ((left,),) = await world.fetch("SELECT count(*) FROM outcome_history")
    assert left == len(RETENTION)


SPAN = timedelta(minutes=5)


async def _rates(world: World, destination: str, newest: int = 1_000) -> figures.Rates:
    number = await world.number(destination)
    async with world.resources.pool.acquire() as connection:
        return await figures.rates(connection, number, SPAN, newest=newest)


async def test_rates_are_of_the_last_span(world: World, dst: str) -> None:
    """Nothing before anything; then what came, what left and what Amazon took, and nothing older."""
    assert await _rates(world, dst) == figures.Rates(0, 0, 0, 0)
    world.amazon.script = refuse_odd
    await world.post(dst, *[event(n) for n in range(60)])
    await world.work_until(dst, delivered=30, dead=30)
    await world.add_attempt(dst, outcome="not_sent")
    rates = await _rates(world, dst)
    assert (rates.accepted_per_second, rates.delivered_per_second) == (0.2, 0.1)
    assert rates.requests_per_second == round(len(world.amazon.requests) / SPAN.total_seconds(), 3)
    assert rates.failed_requests_per_second == 0
    await world.stop_workers()
    await world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '6 minutes'")
    assert (await _rates(world, dst)).accepted_per_second == 0


async def test_of_very_many_batches_the_newest_tell(world: World, dst: str) -> None:
    """Where those that are read are all of the span, the rate is by the time they cover, not by the span."""
    await world.post_apart(dst, 6)
    assert (await _rates(world, dst, newest=3)).accepted_per_second > 6 / SPAN.total_seconds()
