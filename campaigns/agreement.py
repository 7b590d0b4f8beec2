"""History, lists, stats and the stand-in's own log must agree for every event.

One service runs in this process under random faults, pauses, reconnects, replays and erasures, all drawn
from one seed. Then every event is compared. The long form is a command:
`./run campaign agreement --events 5000 --seed 7`.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from app.store.destinations import outcome_history
from campaigns.running import say, throwaway_database
from tests.event_loop import turns
from tests.pipeline.amazon import FakeAmazon, Request
from tests.pipeline.rows import BY_ORDER, MAPPING
from tests.pipeline.service import Service, serving
from tests.pipeline.world import World, event, eventually

DESTINATIONS = 6
FINAL = ("delivered", "dead", "expired", "erased")
REFUSED, FAILED = "FIELD_VALUE_IS_INVALID", "INTERNAL_ERROR"
GAVE_UP = "gave_up"  # what a retried answer comes to at the last of twelve tries
Item = tuple[set[str | None], str | None]  # the outcomes that an event may have, and Amazon's code
ACCEPTED: Item = ({"accepted"}, None)
UNKNOWN: Item = ({"outcome_unknown", GAVE_UP}, None)
# What a 207 says of an event: how often it is drawn, whether it names it among the successes, with which
# code among the errors, and what comes of it.
ITEMS: dict[str, tuple[int, bool, str | None, Item]] = {
    "accepted": (8, True, None, ACCEPTED),
    "refused": (4, False, REFUSED, ({"amazon_refused"}, REFUSED)),
    "failed": (2, False, FAILED, ({"amazon_item_failed", GAVE_UP}, FAILED)),
    "missing": (1, False, None, UNKNOWN),
    "both": (1, True, FAILED, UNKNOWN),
}

# Replies without outcomes of events: how often they are drawn, what the service calls them, and what is sent.
# A hanging Amazon is a read timeout: what the transport makes of it.
REPLIES: dict[str, tuple[int, str, Callable[[], httpx.Response | Exception]]] = {
    "429": (4, "throttled", lambda: httpx.Response(429)),
    "429 with Retry-After": (2, "throttled", lambda: httpx.Response(429, headers={"Retry-After": "1"})),
    "401": (4, "unauthorized", lambda: httpx.Response(401, json={"code": "UNAUTHORIZED"})),
    "403": (2, "forbidden", lambda: httpx.Response(403, json={"code": "ACCESS_DENIED"})),
    "500": (3, "broken", lambda: httpx.Response(500)),
    "503": (3, "broken", lambda: httpx.Response(503)),
    "unreadable": (2, "broken", lambda: httpx.Response(207, content=b"not json")),
    "hang": (3, "lost", lambda: httpx.ReadTimeout("no answer")),
    "404": (2, "missing", lambda: httpx.Response(404, json={"code": "NOT_FOUND", "message": "no"})),
}
# Fault and weight.
FAULTS = {
    "none": 50,
    "partial": 18,
    "empty": 3,
    "drop after accept": 3,
    "400": 5,
    "418": 1,
    **{name: weight for name, (weight, _, _) in REPLIES.items()},
}


def sale(number: int, **more: Any) -> dict[str, Any]:
    """An event with an order, which some mappings use as Amazon event id. The log splits at the colon."""
    return event(number, **{"order": f"order:ord-{number}", **more})


@dataclass
class Exchange:
    """One request as the stand-in received it. `items` has the outcomes and the code of each event."""

    ended: datetime
    outcome: str
    http_status: int | None
    ids: list[str]
    items: dict[str, Item] = field(default_factory=dict)


@dataclass
class UnreliableAmazon:
    """Answers by a drawn fault and keeps a log of every exchange, by advertiser."""

    luck: random.Random
    fake: FakeAmazon = field(default_factory=FakeAmazon)
    log: dict[str, list[Exchange]] = field(default_factory=dict)
    always: str | None = None  # this answer to every request, whatever was drawn
    # Each fault once, among as many good answers; after these the weights decide.
    first: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.first = [*FAULTS, *["none"] * (len(FAULTS) - 1)]
        self.luck.shuffle(self.first)

    def _draw(self) -> str:
        if self.always:
            return self.always
        return self.first.pop() if self.first else self.luck.choices(list(FAULTS), list(FAULTS.values()))[0]

    async def answer(self, request: Request) -> httpx.Response | Exception:
        fault = self._draw()
        await turns(self.luck.randrange(50))  # others run meanwhile
        ids = [one.partition(":")[2] for one in request.ids]
        reply, outcome, items = self._reply(fault, request, ids)
        status = reply.status_code if isinstance(reply, httpx.Response) else None
        made = Exchange(datetime.now(UTC), outcome, status, ids, items)
        self.log.setdefault(request.advertiser_id, []).append(made)
        return reply

    def _reply(
        self, fault: str, request: Request, ids: list[str]
    ) -> tuple[httpx.Response | Exception, str, dict[str, Item]]:
        if fault in REPLIES:
            _, outcome, reply = REPLIES[fault]
            return reply(), outcome, {}
        match fault:
            case "none":
                return self.fake.take(request), "answered", dict.fromkeys(ids, ACCEPTED)
            case "partial":
                return self._partial(ids)
            case "empty":
                return httpx.Response(207, json={}), "answered", dict.fromkeys(ids, UNKNOWN)
            case "drop after accept":
                self.fake.take(request)
                return httpx.RemoteProtocolError("cut off"), "lost", {}
            case "400":
                refused: Item = ({"amazon_request_refused"}, REFUSED)
                lone = {ids[0]: refused} if len(ids) == 1 else {}
                return httpx.Response(400, json={"code": REFUSED, "message": "no"}), "divisible", lone
            case _:
                teapot = httpx.Response(418, json={"code": "TEAPOT", "message": "no"})
                reported: Item = ({"amazon_unexpected"}, "TEAPOT")
                return teapot, "unexpected", dict.fromkeys(ids, reported)

    def _partial(self, ids: list[str]) -> tuple[httpx.Response, str, dict[str, Item]]:
        drawn = self.luck.choices(list(ITEMS.values()), [weight for weight, *_ in ITEMS.values()], k=len(ids))
        success, error = [], []
        for index, (_, is_named, code, _) in enumerate(drawn):
            if is_named:
                success.append({"index": index, "event": None})
            if code is not None:
                error.append({"index": index, "errors": [{"code": code, "message": "no"}]})
        items = {one: item for one, (*_, item) in zip(ids, drawn, strict=True)}
        return httpx.Response(207, json={"success": success, "error": error}), "answered", items


@dataclass
class Driver:
    """Posts events and does to the service what operators and bad days do."""

    service: Service
    amazon: UnreliableAmazon
    luck: random.Random
    destinations: list[str] = field(default_factory=list)
    posted: dict[str, list[int]] = field(default_factory=dict)
    # By replay id, the number of events that the response reported.
    replays: dict[str, int] = field(default_factory=dict)
    erasures: list[str] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.service.world

    async def run(self, events: int) -> None:
        for number in range(DESTINATIONS):
            mapping = BY_ORDER if number % 2 else MAPPING
            dst = await self.world.destination(advertiser=str(7_000 + number), mapping=mapping)
            self.destinations.append(dst)
            self.posted[dst] = []
        left = events
        while left:
            size = min(left, self.luck.choice((1, 1, 1, 2, 2, 3, 5, 20)))
            dst = self.luck.choice(self.destinations)
            numbers = range(events - left, events - left + size)
            posted = [sale(n) for n in numbers]
            conflicts = bool(self.posted[dst]) and self.luck.random() < 0.3
            if conflicts:
                # An accepted event id with other content, which names the Amazon event id of its neighbour.
                known = self.luck.choice(self.posted[dst])
                posted.insert(0, sale(known, order=posted[0]["order"], other=True))
            results = await self.service.post(dst, *posted)
            statuses = [one["status"] for one in results]
            assert statuses == ["rejected"] * conflicts + ["accepted"] * size, results
            self.posted[dst] += numbers
            left -= size
            await self._disturb()
            if self.luck.random() < 0.15:  # so that what follows travels in requests of its own
                await self._settled()
        await self._refuse_and_erase(events)
        for _ in range(2):
            await self._settled()
            for dst in self.destinations[:3]:  # the others keep their dead letters
                await self._replay(dst)
        self.amazon.always = "none"
        await self._settled()
        for id_ in self.erasures:
            while (await self.service.get(f"/subjects/erasures/{id_}"))["status"] != "finished":
                await asyncio.sleep(0.05)

    async def _refuse_and_erase(self, number: int) -> None:
        """Make what luck may leave out: one dead letter to replay, one delivered event to erase."""
        for dst, answer in ((self.destinations[0], "418"), (self.destinations[1], "none")):
            await self._settled()
            self.amazon.always = answer
            await self.service.do(f"/events?destination_id={dst}", [sale(number)])
            self.posted[dst].append(number)
            await self._settled()
            number += 1
        self.amazon.always = None
        await self._erase(number - 1)

    async def _erase(self, person: int) -> None:
        requested = await self.service.do("/subjects/erase", {"email": f"person{person}@example.com"})
        self.erasures.append(requested["id"])

    async def _disturb(self) -> None:
        dst = self.luck.choice(self.destinations)
        drawn = self.luck.random()
        if drawn < 0.10:
            await self.service.do(f"/destinations/{dst}/pause", None)
            await self.service.do(f"/destinations/{dst}/resume", None)
        elif drawn < 0.25:
            await self._replay(self.luck.choice(self.destinations[:3]))
        elif drawn < 0.40 and self.posted[dst]:
            await self._erase(self.luck.choice(self.posted[dst]))
        elif drawn < 0.6:
            await self._reconnect()

    async def _replay(self, dst: str) -> None:
        done = await self.service.do(f"/destinations/{dst}/replay", {"status": "dead", "dry_run": False})
        if done.get("replay_id"):
            self.replays[done["replay_id"]] = done["replayed"]

    async def _reconnect(self) -> None:
        """Do to the rows what a sign-in does, where one is broken."""
        await self.world.fetch(
            "WITH valid AS (UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL,"
            "  version = version + 1 WHERE sign_in = 'broken' RETURNING id, lane), "
            "anew AS (UPDATE sign_ins SET generation = generation + 1, refresh_until = NULL, forced_at = NULL"
            "  FROM valid WHERE destination = valid.id) "
            "SELECT pg_notify('batches_waiting', lane || ':1') FROM valid"
        )

    async def _settled(self) -> None:
        """Wait until nothing waits, reconnecting what Amazon has parked."""

        async def nothing_waits() -> bool:
            await self._reconnect()
            stats = [await self.service.get(f"/destinations/{dst}/stats") for dst in self.destinations]
            return not any(one["waiting"] for one in stats)

        await eventually(nothing_waits, seconds=120, every=0.1)


@dataclass
class Report:
    """What was compared and what disagreed, each as (what, event or destination, detail)."""

    events: int = 0
    attempts: int = 0
    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    erased_after_delivery: int = 0
    replayed: int = 0
    disagreements: list[tuple[str, str, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"{self.events} events, {self.requests} requests, {self.attempts} attempts in histories"
        yield "statuses: " + ", ".join(f"{name} {n}" for name, n in sorted(self.statuses.items()))
        yield "outcomes: " + ", ".join(f"{name} {n}" for name, n in sorted(self.outcomes.items()))
        yield f"erased after delivery: {self.erased_after_delivery}; put back by replays: {self.replayed}"
        found = Counter(what for what, _, _ in self.disagreements)
        yield f"disagreements: {len(self.disagreements)} {dict(found) if found else ''}".rstrip()
        yield from (f"  {what}: {which}: {detail}" for what, which, detail in self.disagreements[:20])


class Judge:
    """Compares what the API says of every event with what the stand-in saw."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.report = Report()

    async def judge(self) -> Report:
        replayed, service = Counter[str](), self._driver.service
        for place, dst in enumerate(self._driver.destinations):
            log = self._driver.amazon.log.get(str(7_000 + place), [])
            self.report.requests += len(log)
            self.report.outcomes.update(one.outcome for one in log)
            histories = {}
            for number in self._driver.posted[dst]:
                name = event(number)["event_id"]
                histories[name] = await service.history(dst, name)
                self._judge_event(name, histories[name], [one for one in log if name in one.ids])
                replayed.update(one["replay_id"] for one in histories[name].get("replays", ()))
            await self._judge_sums(dst, histories)
        self.report.replayed = sum(self._driver.replays.values())
        for id_, reported in self._driver.replays.items():
            detail = f"{replayed[id_]} events name it, reported {reported}"
            self._expect(replayed[id_] == reported, "replays", id_, detail)
        return self.report

    def _expect(self, fine: bool, what: str, which: str, detail: str) -> None:
        if not fine:
            self.report.disagreements.append((what, which, detail))

    def _judge_event(self, name: str, history: dict[str, Any], log: list[Exchange]) -> None:
        self.report.events += 1
        self.report.statuses[history["status"]] += 1
        attempts = history["attempts"]
        self.report.attempts += len(attempts)
        named = [(one["outcome"], one["http_status"]) for one in attempts]
        met = [(one.outcome, one.http_status) for one in log]
        self._expect(named == met, "attempts", name, f"history {named}, log {met}")
        if named == met:
            for attempt, exchange in zip(attempts, log, strict=True):
                outcomes, code = exchange.items.get(name, ({None}, None))
                reported = (attempt.get("item_outcome"), attempt.get("item_code"))
                fine = reported[0] in outcomes and reported[1] == code
                self._expect(fine, "item outcomes", name, f"history {reported}, log {(outcomes, code)}")
        accepting = [one for one in log if "accepted" in one.items.get(name, ({None}, None))[0]]
        self._judge_times(name, history, accepting)

    def _judge_times(self, name: str, history: dict[str, Any], accepting: list[Exchange]) -> None:
        delivered_at, erased_at = history.get("delivered_at"), history["erased_at"]
        is_delivered = history["status"] == "delivered"
        self._expect(is_delivered == bool(accepting), "status", name, f"{history['status']}, {accepting}")
        self._expect((delivered_at is not None) == is_delivered, "delivered_at", name, str(delivered_at))
        if is_delivered and accepting:
            explained = history["explanation"].partition(" at ")[2][:19].replace(" ", "T") + "+00:00"
            moment = datetime.fromisoformat(delivered_at or explained)
            first, last = accepting[-1].ended, accepting[-1].ended + timedelta(seconds=5)
            slack = timedelta(0) if delivered_at else timedelta(seconds=1)
            fine = first - slack <= moment <= last
            self._expect(fine, "delivered_at", name, f"{moment} outside {first} to {last}")
        if is_delivered and erased_at is not None:
            self.report.erased_after_delivery += 1
            self._expect("erased" in history["explanation"], "explanation", name, history["explanation"])

    async def _judge_sums(self, dst: str, histories: dict[str, dict[str, Any]]) -> None:
        statuses = Counter(one["status"] for one in histories.values())
        counts = (await self._driver.service.get(f"/destinations/{dst}/stats"))["counts"]
        for status in FINAL:
            self._expect(counts[status] == statuses[status], "stats", dst, f"{status}: {counts}, {statuses}")
            listed = dict.fromkeys(await self._listed(dst, status=status), status)
            mine = {name: status for name, one in histories.items() if one["status"] == status}
            detail = f"{status}: {len(listed)} listed, {len(mine)} histories"
            self._expect(listed == mine, "lists", dst, detail)
        self._expect(counts["accepted"] == len(histories), "stats", dst, f"accepted: {counts}")
        everything = await self._listed(dst)
        self._expect(sorted(everything) == sorted(histories), "lists", dst, f"all: {len(everything)}")
        number = await self._driver.world.number(dst)
        async with self._driver.world.pool.acquire() as connection:
            history = await outcome_history.buckets(
                connection, [number], width=timedelta(days=1), since=datetime.now(UTC) - timedelta(days=2)
            )
        await self._driver.world.figures_agree(dst)
        charted = sum(bucket.delivered for bucket in history[number])
        self._expect(charted == counts["delivered"], "charts", dst, f"{charted}, {counts['delivered']}")

    async def _listed(self, dst: str, **query: str) -> list[str]:
        items = await self._driver.service.all_items(f"/destinations/{dst}/events", limit="200", **query)
        return [one["event_id"] for one in items]


async def compare(database_url: str, *, events: int, seed: int) -> Report:
    """Run a service through its bad days and return what agreed and what did not."""
    luck = random.Random(seed)
    amazon = UnreliableAmazon(random.Random(seed + 1))
    async with serving(database_url, amazon.fake) as service:
        world = service.world
        world.amazon.script = amazon.answer
        driver = Driver(service, amazon, luck)
        world.work()
        await driver.run(events)
        await world.stop_workers()
        return await Judge(driver).judge()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with throwaway_database() as url:
        began = time.monotonic()
        report = asyncio.run(compare(url, events=options.events, seed=options.seed))
    say(f"seed {options.seed}, {time.monotonic() - began:.0f} s", *report.lines(), sep="\n")
    return 1 if report.disagreements else 0
