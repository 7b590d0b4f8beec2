"""Each kind of incident from its real cause: it opens, is announced once, and resolves after the cure."""

import json
import math
import os
import signal
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.processes.monitoring_port import DatabaseGauges
from app.store import incidents
from tests.databases import SESSIONS_HERE
from tests.incidents.conftest import Watch, stamp
from tests.pipeline.world import event, eventually, locked

MONITOR_AGE = "amazon_conversions_incident_monitor_age_seconds"


async def set_alerting(watch: Watch, destination: str, **alerting: object) -> None:
    await watch.world.fetch(
        "INSERT INTO destination_alerting (organisation_id, destination, alerting) "
        "VALUES ('default', $1, $2)",
        destination,
        json.dumps(alerting),
    )


async def announced(watch: Watch, kind: str, destination: str | None) -> dict[str, Any]:
    """Wait for an incident, and require one message about the opening, with the cause and the remedy."""
    found = await watch.until_open(kind)
    (message,) = [each for each in watch.receiver.of_type("opened") if each["data"]["kind"] == kind]
    data = message["data"]
    assert data["destination_id"] == destination
    assert data["url"] == f"http://ours.test/console/incidents/{data['id']}"
    assert data["summary"] in message["text"]
    assert data["remedy"] in message["text"]
    assert message["timestamp"].endswith("Z")
    return found


async def test_nothing_opens_under_healthy_load(watch: Watch, watched: str) -> None:
    """Events that are delivered cause no incident and no message."""
    watch.world.work()
    await watch.world.post(watched, *(event(number) for number in range(40)))
    await watch.world.until(watched, delivered=40)
    for _ in range(3):
        await watch.tick()
    assert await watch.incidents() == {}
    assert watch.receiver.messages == []


async def test_dead_letters_open_and_resolve_when_replayed(watch: Watch) -> None:
    """One refused event is enough."""
    watch.world.amazon.script = lambda _: httpx.Response(
        207, json={"success": [], "error": [{"index": 0, "code": "INVALID", "message": "ada@example.com"}]}
    )
    destination = await watch.world.destination()
    watch.world.work()
    await watch.world.post(destination, event(1))
    await watch.world.until(destination, dead=1)
    found = await announced(watch, "dead_letters", destination)
    assert (found["severity"], found["affected_events"]) == ("warning", 1)
    assert "ada@" not in str(watch.receiver.messages)
    await watch.world.fetch("UPDATE exceptions SET dismissed_at = now()")
    await watch.resolved("dead_letters")
    assert len(watch.receiver.of_type("resolved")) == 1


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("revoked", "sign_in_lost"),
        ("unauthorized", "sign_in_lost"),
        ("forbidden", "amazon_forbidden"),
        ("endpoint_not_found", "amazon_forbidden"),
    ],
)
async def test_a_lost_sign_in_opens_and_resolves_on_reconnect(watch: Watch, reason: str, kind: str) -> None:
    """The reason decides which of the two kinds it is."""
    destination = await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = $1", reason)
    await announced(watch, kind, destination)
    await watch.world.fetch("UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL")
    await watch.resolved(kind)
    assert set(await watch.incidents()) == {kind}


async def test_failing_requests_open_and_resolve_after_a_success(watch: Watch) -> None:
    """Amazon answers 503 for a while."""
    broken = True
    watch.world.amazon.script = lambda _: httpx.Response(503) if broken else None
    destination = await watch.world.destination()
    await set_alerting(watch, destination, failing={"min_requests": 3})
    watch.world.work()
    await watch.world.post(destination, event(1))
    await announced(watch, "failing", destination)
    await watch.let_pass(31)
    await watch.tick()
    assert (await watch.incidents())["failing"]["state"] == "open"
    broken = False
    await watch.world.until(destination, delivered=1, seconds=40)
    await watch.resolved("failing")


async def test_a_throttled_lane_opens(watch: Watch) -> None:
    """The threshold is the age of the oldest live event."""
    watch.world.amazon.script = lambda _: httpx.Response(429, headers={"retry-after": "1"})
    destination = await watch.world.destination()
    await set_alerting(watch, destination, throttled={"minutes": 0.02})
    watch.world.work()
    await watch.world.post(destination, event(1))
    await announced(watch, "throttled", destination)
    watch.world.amazon.script = None
    await watch.world.until(destination, delivered=1)
    await watch.resolved("throttled")


async def test_a_backlog_opens_and_resolves_when_drained(watch: Watch, watched: str) -> None:
    """Its events wait for a worker."""
    await set_alerting(watch, watched, backlog={"minutes": 0.01})
    await watch.world.post(watched, event(1), event(2))
    found = await announced(watch, "backlog", watched)
    assert found["affected_events"] == 2
    assert found["oldest_event_at"] is not None
    assert found["expires_at"] > found["oldest_event_at"] + timedelta(days=20)
    await watch.world.work_until(watched, delivered=2)
    await watch.resolved("backlog")


async def test_expiring_events_open(watch: Watch, watched: str) -> None:
    """An event of twenty days and one hour has less than a day left."""
    await watch.world.fetch("UPDATE destinations SET paused = true")
    old = {**event(1), "event": {"timestamp": stamp(ago=timedelta(days=20, hours=1)), "total": 1}}
    await watch.world.post(watched, old)
    found = await announced(watch, "expiring", watched)
    assert found["severity"] == "critical"
    assert found["expires_at"] is not None


async def test_rejections_open_and_resolve_by_good_events(watch: Watch, watched: str) -> None:
    """Twenty per cent of fifty events. A pause does not resolve the incident."""
    await watch.tick()
    await watch.world.post(watched, *(event(number) for number in range(40)))
    await watch.world.post(watched, *({"event_id": f"no-{number}"} for number in range(12)))
    found = await announced(watch, "rejections", watched)
    assert found["affected_events"] == 12
    assert found["reason"] == "timestamp_missing"
    await watch.let_pass(400)
    await watch.tick()
    await watch.let_pass(31)
    await watch.tick()
    assert (await watch.incidents())["rejections"]["state"] == "open"
    await watch.world.post(watched, *(event(number) for number in range(100, 110)))
    await watch.tick()
    await watch.resolved("rejections")


@pytest.mark.parametrize(
    "request_is",
    [
        "settled_at = now(), outcome = 'throttled', http_status = 429",
        "started_at = now() - interval '16 seconds'",
    ],
)
async def test_a_new_stall_is_recorded_at_once(watch: Watch, request_is: str) -> None:
    """The home page reads the recording of every 15 seconds; it must not wait for the next one.

    A request that Amazon does not answer is a stall long before its time-out.
    """
    world = watch.world
    id_ = await world.destination()
    ages = "SELECT oldest_waiting_seconds AS age FROM outcome_history WHERE bucket_seconds = 60"
    await watch.tick()
    await world.post(id_, event(1))
    await world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '16 seconds'")
    await world.add_attempt(id_, settled=None)
    await watch.tick()
    assert await world.fetch(ages) == []
    await world.fetch(f"UPDATE attempts SET {request_is}")
    await watch.tick()
    [row] = await world.fetch(ages)
    assert 15 < row["age"] < 60


async def test_a_drop_of_volume_opens(watch: Watch) -> None:
    """Seven days with a hundred events an hour, and an hour with none."""
    destination = await watch.world.number(await watch.world.destination())
    await watch.world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted) "
        "SELECT 'default', $1, 3600, date_trunc('hour', now()) - make_interval(hours => n), 100 "
        "FROM generate_series(2, 200) n",
        destination,
    )
    await watch.until_open("volume_drop")
    await watch.world.fetch(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted) "
        "VALUES ('default', $1, 3600, date_trunc('hour', now()) - interval '1 hour', 50)",
        destination,
    )
    watch.monitor.observer.restart()  # volumes are read every ten seconds
    await watch.resolved("volume_drop")


async def test_without_a_worker_one_incident_of_the_service_opens(watch: Watch, watched: str) -> None:
    """Other kinds open silently meanwhile."""
    await set_alerting(watch, watched, backlog={"minutes": 0.5})
    await watch.world.post(watched, event(1))
    await watch.world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '2 minutes'")
    await watch.tick()
    await watch.let_pass(10)
    assert (await announced(watch, "no_worker", None))["destination"] is None
    await watch.world.work_until(watched, delivered=1)
    await watch.resolved("no_worker")
    kinds = {message["data"]["kind"] for message in watch.receiver.of_type("resolved")}
    assert "no_worker" in kinds


async def test_the_lease_of_a_crashed_worker_does_not_prolong_the_wait(watch: Watch, watched: str) -> None:
    """Events wait since the crash, not since its lease ended up to a minute later."""
    await watch.world.post(watched, event(1))
    await watch.world.fetch("UPDATE batch_states SET accepted_at = accepted_at - interval '1 minute'")
    await watch.world.fetch("UPDATE lanes SET owner = 'crashed', leased_until = now()")
    await watch.tick()
    await watch.let_pass(10)
    assert (await announced(watch, "no_worker", None))["destination"] is None


async def test_a_delay_during_an_outage_of_the_service_is_silent(watch: Watch) -> None:
    """The outage explains it. A lost sign-in it does not explain."""
    await watch.world.destination()
    delayed = await watch.world.destination()
    await set_alerting(watch, delayed, backlog={"minutes": 0.01})
    await watch.world.post(delayed, event(1))
    await watch.world.fetch(
        "INSERT INTO incidents "
        "(organisation_id, id, kind, severity, state, opened_at, last_seen_at, summary) "
        "VALUES ('default', 'inc_00000000000000000000', 'database_slow', 'critical', 'open', "
        "now(), now(), 's')"
    )
    await watch.world.fetch(
        "UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked' WHERE id <> $1", delayed
    )
    assert (await watch.until_open("backlog"))["is_silent"]
    await watch.until_open("sign_in_lost")
    kinds = sorted(message["data"]["kind"] for message in watch.receiver.messages)
    assert kinds == ["database_slow", "sign_in_lost"]


async def test_a_restart_keeps_the_incident_and_sends_nothing_again(watch: Watch) -> None:
    """The rows decide, not the memory of a process."""
    await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    before = await watch.until_open("sign_in_lost")
    await watch.monitor.leave()
    other = Watch.of(watch.world, watch.receiver)
    await other.tick()
    await other.tick()
    assert (await other.incidents())["sign_in_lost"]["id"] == before["id"]
    assert len(watch.receiver.messages) == 1
    await other.close()


async def test_one_of_several_processes_computes(watch: Watch) -> None:
    """The others wait for the end of its lease."""
    await watch.world.destination()
    await watch.tick()
    other = Watch.of(watch.world, watch.receiver)
    await other.tick()
    assert (watch.monitor._owned, other.monitor._owned) == (True, False)
    await watch.monitor.leave()

    async def owned() -> bool:
        await other.tick()
        return other.monitor._owned

    await eventually(owned)
    await other.close()


async def test_beside_a_monitor_of_the_release_before_the_leases_one_computes(watch: Watch) -> None:
    """That monitor computes while its session holds lock 7306. During an upgrade exactly one of both does."""
    await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    resources = watch.world.delivering
    assert resources is not None
    takes = "SELECT pg_try_advisory_lock(7306)"
    earlier = await resources.connect()
    assert await earlier.fetchval(takes)
    await watch.tick()
    assert not watch.monitor._owned
    assert await watch.incidents() == {}, "the earlier release decides"
    await earlier.close()
    await watch.until_open("sign_in_lost")
    other = Watch.of(watch.world, watch.receiver, of_api=True)
    await watch.world.fetch("UPDATE job_leases SET leased_until = now() - interval '1 second'")
    await other.tick()
    assert other.monitor._owned, "processes of this release do not exclude each other"
    earlier = await resources.connect()
    assert not await earlier.fetchval(takes)
    await watch.monitor.leave()
    await other.monitor.leave()
    await eventually(lambda: earlier.fetchval(takes))
    await earlier.close()
    await other.close()


async def test_a_new_session_keeps_earlier_monitors_away_again(watch: Watch) -> None:
    """The lock ends with the session; the lease, which the process still has, does not."""
    await watch.world.destination()
    await watch.tick()
    assert watch.monitor._connection is not None
    await watch.monitor._connection.close()
    await watch.tick()
    held = f"SELECT mode FROM pg_locks WHERE locktype = 'advisory' AND objid = 7306 AND {SESSIONS_HERE}"
    assert [row["mode"] for row in await watch.world.fetch(held)] == ["ShareLock"]


async def test_a_monitor_that_was_cut_off_does_not_go_on_with_its_measurements(watch: Watch) -> None:
    """Another process computed meanwhile, and the breaker that was open was closed for a time."""
    await watch.world.destination(event(1))
    await watch.world.fetch("UPDATE lanes SET breaker = 'open'")
    await watch.tick()
    assert watch.monitor._connection is not None
    await watch.monitor._connection.close()
    await watch.world.fetch("UPDATE job_leases SET leased_until = now()")
    other = Watch.of(watch.world, watch.receiver)
    await other.tick()
    assert other.monitor._owned
    await other.monitor.leave()
    await other.close()
    watch.clock.now += 3600
    await watch.tick()
    assert watch.monitor._owned
    assert "failing" not in await watch.incidents()


async def test_a_lease_from_before_the_clock_went_back_is_over(watch: Watch) -> None:
    """Its owner has ended. No lease lasts as long as the clock was wrong."""
    await watch.world.destination()
    await watch.world.fetch(
        "INSERT INTO job_leases VALUES ('incidents', 'ended', now() + interval '2 hours')"
    )
    await watch.tick()
    assert watch.monitor._owned


async def test_the_session_of_a_frozen_process_ends(watch: Watch) -> None:
    """The server ends it, so the process writes nothing when it goes on, while another has the lease."""
    assert watch.world.receiving is not None
    frozen = await watch.world.receiving.connect()
    await incidents.limit_silence(frozen, timedelta(seconds=0.3))
    await eventually(frozen.is_closed)


async def test_a_frozen_backend_keeps_no_other_process_from_computing(watch: Watch) -> None:
    """Its session cannot be ended, but the lease ends."""
    await watch.world.destination()
    await watch.tick()
    assert watch.monitor._connection is not None
    backend = watch.monitor._connection.get_server_pid()
    other = Watch.of(watch.world, watch.receiver, of_api=True)
    os.kill(backend, signal.SIGSTOP)
    try:
        await other.tick()
        assert not other.monitor._owned
        await watch.world.fetch("UPDATE job_leases SET leased_until = now()")
        await other.tick()
        assert other.monitor._owned
    finally:
        os.kill(backend, signal.SIGCONT)
    await watch.tick()
    assert not watch.monitor._owned
    await other.close()


async def test_a_monitor_that_cannot_store_incidents_shows_its_age(watch: Watch) -> None:
    """It runs, has the lease and commits, but another session holds a row that it writes."""
    gauges = DatabaseGauges(watch.world.resources.pool, watch.world.resources.telemetry)

    async def age() -> float | None:
        await gauges.read()
        return watch.world.resources.telemetry.registry.get_sample_value(MONITOR_AGE)

    assert await age() == math.inf
    await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    await watch.until_open("sign_in_lost")
    assert await age() == pytest.approx(0, abs=5)
    async with locked(watch.world, "SELECT FROM incidents FOR UPDATE"):
        await watch.world.fetch("UPDATE commit_probes SET at = now() - interval '90 seconds'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await watch.monitor.run()
        assert await age() == pytest.approx(92, abs=5)
    await watch.monitor.run()
    assert await age() == pytest.approx(0, abs=5)


async def test_three_hundred_failing_destinations_cause_digests(watch: Watch) -> None:
    """Not three hundred messages; each incident is counted."""
    for _ in range(300):
        await watch.world.destination()
    await watch.world.fetch("UPDATE destinations SET sign_in = 'broken', sign_in_reason = 'revoked'")
    await watch.tick()
    (digest,) = watch.receiver.messages
    assert "300 incidents, such as" in digest["text"]
    assert digest["type"] == "incident.digest"
    assert digest["data"]["count"] == 300
    assert len(digest["data"]["items"]) == 50
    await watch.world.fetch("UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL")
    await watch.let_pass(61)
    await watch.tick()
    assert [message["data"]["count"] for message in watch.receiver.messages] == [300, 300]
