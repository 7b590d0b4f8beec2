"""Ways to an answer: the search and the health in the head, requests, arrivals, what one row can do."""

import re

import asyncpg
import pytest

from tests.console.test_event_pages import Desk, desk
from tests.console.test_seeded_faults import read
from tests.pipeline.world import event

__all__ = ["desk"]

pytestmark = pytest.mark.process


async def test_the_search_in_the_head_finds_pages_destinations_and_mappings(desk: Desk) -> None:
    """Any other text is searched among the events, where an event's own id opens its page."""
    shop = await desk.destination()
    name = (await desk.api.get(f"/destinations/{shop}")).json()["name"]
    home = await desk.get("/console")
    assert 'action="/console/find"' in home
    assert f'href="/console/destinations/{shop}"' in await desk.get("/console/find", q=name.upper())
    mapping = (await desk.api.get(f"/destinations/{shop}/mappings")).json()["items"][0]
    here = f'href="/console/destinations/{shop}/mappings/{mapping["id"]}"'
    assert here in await desk.get("/console/find", q=mapping["id"])
    assert 'href="/console/audit"' in await desk.get("/console/find", q="audi")
    await desk.post(shop, event(1, event_id="only-one-like-it"))
    await desk.until_counted(shop, delivered=1)
    answer = await desk.pages.get("/console/find", params={"q": "only-one-like-it"}, follow_redirects=True)
    assert f"/console/destinations/{shop}/event" in str(answer.url)
    typed = await desk.pages.get("/console/find", params={"q": "audi"}, headers={"HX-Request": "true"})
    assert "<html" not in typed.text
    assert "Search the events for" in typed.text


async def test_the_head_has_the_health_of_the_home_page(desk: Desk) -> None:
    """On every page of the destination, in the same words."""
    shop = await desk.destination()
    await desk.post(shop, event(1))
    await desk.until_counted(shop, delivered=1)
    for page in ("", "/events", "/settings", "/requests"):
        text = await desk.get(f"/console/destinations/{shop}{page}")
        head = re.search(r'<a id="health" [^>]*>(.*?)</a></h1>', text, re.S)
        assert head is not None, page
        assert "Healthy" in head[1], (page, head[1])
    assert (await desk.api.post(f"/destinations/{shop}/pause")).status_code == 200
    text = await desk.get(f"/console/destinations/{shop}/events")
    assert ">Paused</span></a></h1>" in text


async def test_requests_are_listed_with_result_latency_and_refused_events(desk: Desk) -> None:
    """The filter shows those that did not deliver every event; each leads to its events."""
    shop = await desk.destination()
    await desk.post(shop, *(event(number) for number in range(1, 5)))
    await desk.until_counted(shop, delivered=4)
    await desk.fault(shop, kind="partial", indexes=[0], code="BAD_REQUEST")
    await desk.post(shop, *(event(number) for number in range(11, 15)))
    await desk.until_counted(shop, delivered=7, dead=1)
    await desk.heal()
    here = f"/console/destinations/{shop}/requests"
    everything = await desk.get(here)
    rows = re.findall(r"<tr><td>.*?</tr>", everything, re.S)
    assert len(rows) == 2
    assert ">207<" in rows[0]
    assert "ms</td>" in rows[0]
    assert re.search(r'tone-bad">1<', rows[0]), "one of the newest request's events was refused"
    request = re.search(r'href="(/console/events\?q=[^"]+)"', rows[0])
    assert request is not None
    events = read(await desk.pages.get(request[1].replace("&amp;", "&"), follow_redirects=True))
    assert "ord-12" in events
    failed = await desk.get(here, failed="true")
    assert len(re.findall(r"<tr><td>", failed)) == 1
    answer = await desk.pages.get(here, params={"cursor": "bm9uc2Vuc2U"})
    assert answer.status_code == 422


async def test_activate_listens_for_the_first_event_and_names_a_rejection(desk: Desk) -> None:
    shop = await desk.destination()
    here = f"/console/destinations/{shop}/activate"
    assert "Waiting for your first event" in await desk.get(here)
    bad = event(1)
    del bad["event"]["timestamp"]
    await desk.post(shop, bad)
    text = await desk.get(here)
    assert "Last rejected event" in text
    assert "<code>timestamp_missing</code>" in text
    await desk.post(shop, event(2))
    await desk.until_counted(shop, delivered=1)
    text = await desk.get(here)
    assert "Waiting for your first event" not in text
    assert "ord-2" in text
    assert "Sent to Amazon" in text


async def test_a_row_copies_its_id_and_replays_its_event(desk: Desk) -> None:
    shop = await desk.destination()
    await desk.fault(shop, kind="partial", indexes=[0], code="BAD_REQUEST")
    await desk.post(shop, event(1), event(2))
    await desk.until_counted(shop, delivered=1, dead=1)
    await desk.heal()
    text = await desk.get(f"/console/destinations/{shop}/events")
    assert text.count(">Copy ID</button>") == 2
    links = re.findall(r'href="([^"]+/replay\?[^"]+)"', text)
    assert len(links) == 1
    assert "1 selected" in await desk.get(links[0].replace("&amp;", "&"))


async def test_the_funnel_counts_its_losses(desk: Desk) -> None:
    """Received is the sum of what was accepted, rejected and repeated; each loss has its top reason."""
    shop = await desk.destination()
    bad = event(1)
    del bad["event"]["timestamp"]
    await desk.post(shop, bad, event(2), event(3))
    await desk.post(shop, event(3))
    await desk.until_counted(shop, delivered=2)

    async def counted() -> bool:
        return "duplicate" in await desk.get(f"/console/destinations/{shop}")

    await desk.until(counted)
    text = re.sub(r"<[^>]+>|\s+", " ", await desk.get(f"/console/destinations/{shop}"))
    funnel = re.sub(" +", " ", text[text.index("In the last 24 hours") : text.index("Since the destination")])
    assert "4 Received" in funnel
    assert "1 rejected (25 %) mostly timestamp missing" in funnel
    assert "1 duplicate" in funnel
    assert "2 Accepted" in funnel
    assert "2 Delivered" in funnel


async def test_the_funnel_compares_with_the_time_before(desk: Desk) -> None:
    """Only if something was received then; the buckets of an hour are read, once each."""
    shop = await desk.destination()
    await desk.post(shop, event(1), event(2))
    await desk.until_counted(shop, delivered=2)
    assert "compared" not in await desk.get(f"/console/destinations/{shop}")
    connection = await asyncpg.connect(desk.product.database_url.replace("+asyncpg", ""))
    await connection.execute(
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted, delivered) "
        "SELECT 'default', number, seconds, date_bin(make_interval(secs => seconds), "
        "  now() - interval '30 hours', TIMESTAMPTZ '2000-01-01 00:00Z'), 4, 8 "
        "FROM destinations, unnest(ARRAY[3600, 10800, 86400]) AS seconds WHERE id = $1",
        shop,
    )
    await connection.close()
    page = await desk.get(f"/console/destinations/{shop}")
    found = re.findall(r'<p class="compared help" title="([^"]+)">([^<]+)</p>', page)
    assert found == [
        ("4 in the same time before", "−50 %"),
        ("4 in the same time before", "−50 %"),
        ("8 in the same time before", "−75 %"),
    ]
