"""A suggested mapping, published as it is, converts every realistic event rightly.

For each seed and family: a mapping is suggested from the first 40 events, saved and published over HTTP,
and all events are previewed, posted as a dry run, and posted. What the stand-in for Amazon received must
equal the preview and the dry run, and be true of the event. `--file` takes events from elsewhere, a line
`{"family", "event", "truth"}` each.
"""

import argparse
import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from campaigns.running import say, throwaway_database
from tests.domain.orders import Truth
from tests.domain.realistic_events import FAMILIES, events_of
from tests.domain.test_real_events import wrong_fact
from tests.pipeline.rows import MAPPING
from tests.pipeline.service import serving
from tests.pipeline.world import World, eventually

JSON = dict[str, Any]
GIVEN: Final = 40  # events from which a mapping is suggested
_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Sale:
    """A realistic event, what is true of it, and the facts that a mapping may leave out."""

    event: JSON
    truth: Truth
    missing: tuple[str, ...] = ()


@dataclass
class Report:
    """What was counted, and each disagreement."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        yield f"disagreements: {len(self.problems)}"
        yield from self.problems[:20]


def own_sales(seed: int, count: int, now: datetime) -> dict[str, list[Sale]]:
    """Return events of each family of `tests/domain/realistic_events.py`."""
    return {
        family: [
            Sale(event, truth, FAMILIES[family].missing)
            for event, truth in events_of(family, seed, count, now)
        ]
        for family in FAMILIES
    }


def sales_of_file(path: Path) -> dict[str, list[Sale]]:
    found: dict[str, list[Sale]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        facts = {name: row["truth"][name] for name in ("units", "currency", "email", "phone", "maid")}
        at, value = datetime.fromtimestamp(row["truth"]["time_ms"] / 1000, UTC), row["truth"]["value"]
        truth = Truth(at=at, value=None if value is None else Decimal(value), **facts)
        found[row["family"]].append(Sale(row["event"], truth))
    return found


class Shop:
    """A destination of the service with the suggested mapping of a family."""

    def __init__(self, world: World, client: httpx.AsyncClient, report: Report, name: str) -> None:
        self._world, self._client, self._report, self._name = world, client, report, name
        self._destination = self._mapping = ""

    async def _ask(self, path: str, body: Any, **query: Any) -> Any:
        answer = await self._client.post(path, json=body, params=query)
        assert answer.status_code < 300 or path == "/events", (self._name, path, answer.text[:2000])
        return json.loads(answer.text, parse_float=Decimal)

    async def open(self, sales: Sequence[Sale], zone: str | None) -> None:
        """Suggest, save and publish a mapping."""
        self._destination = await self._world.destination(mapping=MAPPING)
        mappings = f"/destinations/{self._destination}/mappings"
        asked = {"events": [sale.event for sale in sales[:GIVEN]], **({"zone": zone} if zone else {})}
        suggested = (await self._ask(f"{mappings}/suggest", asked))["mapping"]
        saved = await self._client.post(mappings, content=json.dumps(suggested, default=float))
        assert saved.status_code == 201, (self._name, saved.text[:2000])
        self._mapping = saved.json()["id"]
        await self._ask(f"{mappings}/{self._mapping}/publish", {})

    async def send(self, sales: Sequence[Sale]) -> None:
        """Preview, rehearse and post the events, and compare what Amazon received with the truth."""
        to = {"destination_id": self._destination, "mapping_id": self._mapping}
        for begin in range(0, len(sales), _AT_ONCE):
            page = sales[begin : begin + _AT_ONCE]
            events = [sale.event for sale in page]
            rehearsed = (await self._ask("/events", events, dry_run="true", **to))["results"]
            earlier = len(self._world.amazon.requests)
            posted = (await self._ask("/events", events, **to))["results"]
            accepted = sum(one["status"] == "accepted" for one in posted)
            self._report.counts["events"] += len(page)
            self._report.counts["accepted"] += accepted
            ids = {
                one["preview"]["amazon_event"]["eventId"] for one in rehearsed if one["status"] == "accepted"
            }
            received = await eventually(partial(self._received, ids, earlier), seconds=60)
            for sale, dry, real in zip(page, rehearsed, posted, strict=True):
                await self._compare(sale, dry, real, received)

    async def _received(self, ids: set[str], earlier: int) -> dict[str, JSON] | None:
        """Return the events with these ids. Those of another seed may have them in an `earlier` request."""
        found = {
            event["eventId"]: event
            for request in self._world.amazon.requests[earlier:]
            for event in json.loads(request.body, parse_float=Decimal)["events"]
            if event["eventId"] in ids
        }
        return found if len(found) == len(ids) else None

    async def _compare(self, sale: Sale, dry: JSON, real: JSON, received: dict[str, JSON]) -> None:
        path = f"/destinations/{self._destination}/mappings/{self._mapping}/preview"
        shown = await self._ask(path, {"event": sale.event})
        if dry["status"] != real["status"] or shown["ok"] is not (real["status"] == "accepted"):
            self._problem(sale, f"dry run {dry['status']}, preview {shown['ok']}, posted {real['status']}")
        elif real["status"] != "accepted":
            usable = sale.truth.email or sale.truth.phone or sale.truth.maid
            if usable or real["reason"] != "no_match_key":
                self._problem(sale, f"{real['reason']}: {real['detail']}")
            else:
                self._report.counts["without a usable match key, rejected"] += 1
        else:
            previewed = dry["preview"]["amazon_event"]
            sent = received[previewed["eventId"]]
            if not previewed == sent == shown["amazon_event"]:
                self._problem(sale, "preview, dry run and bytes differ")
            if "@" in json.dumps(sent, default=str).replace("%40", "@"):
                self._problem(sale, "holds an address in clear")
            if wrong := wrong_fact(sent, sale.truth, sale.missing):
                self._problem(sale, wrong)

    def _problem(self, sale: Sale, what: str) -> None:
        self._report.problems.append(f"{self._name}: {what}: {json.dumps(sale.event)[:300]}")


async def _convert_all(
    url: str, families: dict[str, list[Sale]], zones: dict[str, str], report: Report
) -> None:
    async with serving(url) as service:
        service.client.headers["Content-Type"] = "application/json"
        service.world.work()
        for name, sales in families.items():
            family = name.partition(":")[2]
            shop = Shop(service.world, service.client, report, name)
            await shop.open(sales, zones.get(family))
            await shop.send(sales)
            report.counts["families"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--count", type=int, default=60, help="events of a family")
    parser.add_argument("--file", type=Path, nargs="*", default=[], help="events from elsewhere")
    parser.add_argument("--zone", nargs="*", default=["export=Europe/Berlin"], help="FAMILY=ZONE of a file")
    options = parser.parse_args()
    now, families, report = datetime.now(UTC), dict[str, list[Sale]](), Report()
    for seed in options.seeds:
        families |= {f"{seed}:{name}": sales for name, sales in own_sales(seed, options.count, now).items()}
    for path in options.file:
        families |= {f"{path.stem}:{name}": sales for name, sales in sales_of_file(path).items()}
    zones = {name: row.zone for name, row in FAMILIES.items() if row.zone}
    zones |= dict(pair.split("=", 1) for pair in options.zone)
    with throwaway_database() as url:
        asyncio.run(_convert_all(url, families, zones, report))
    say(*report.lines(), sep="\n")
    return int(bool(report.problems))
