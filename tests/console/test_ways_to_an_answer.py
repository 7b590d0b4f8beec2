"""Ways to an answer: the search and the health in the head, requests, arrivals, what one row can do."""

import re

import pytest

from tests.console import showcase
from tests.console.test_event_pages import Desk, desk
from tests.console.test_seeded_faults import read
from tests.databases import execute
from tests.pipeline.world import event

__all__ = ["desk"]

pytestmark = pytest.mark.process


def test_the_search_in_the_head_finds_pages_destinations_and_mappings(desk: Desk) -> None:
    """Any other text is searched among the events, where an event's own id opens its page."""
    shop = desk.destination()
    name = desk.api.get(f"/destinations/{shop}").json()["name"]
    assert 'action="/console/find"' in desk.get("/console")
    assert f'href="/console/destinations/{shop}"' in desk.get("/console/find", q=name.upper())
    mapping = desk.api.get(f"/destinations/{shop}/mappings").json()["items"][0]
    here = f'href="/console/destinations/{shop}/mappings/{mapping["id"]}"'
    assert here in desk.get("/console/find", q=mapping["id"])
    assert 'href="/console/audit"' in desk.get("/console/find", q="audi")
    desk.post(shop, event(1, event_id="only-one-like-it"))
    desk.until_counted(shop, delivered=1)
    answer = desk.pages.get("/console/find", params={"q": "only-one-like-it"}, follow_redirects=True)
    assert f"/console/destinations/{shop}/event" in str(answer.url)
    typed = desk.pages.get("/console/find", params={"q": "audi"}, headers={"HX-Request": "true"})
    assert "<html" not in typed.text
    assert "Search the events for" in typed.text


def test_the_head_has_the_health_of_the_home_page(desk: Desk) -> None:
    """On every page of the destination, in the same words."""
    shop = desk.destination()
    desk.post(shop, event(1))
    desk.until_counted(shop, delivered=1)
    for page in ("", "/events", "/settings", "/requests"):
        text = desk.get(f"/console/destinations/{shop}{page}")
        head = re.search(r'<a id="health" [^>]*>(.*?)</a></h1>', text, re.S)
        assert head is not None, page
        assert "Healthy" in head[1], (page, head[1])
    assert desk.api.post(f"/destinations/{shop}/pause").status_code == 200
    assert ">Paused</span></a></h1>" in desk.get(f"/console/destinations/{shop}/events")


def test_requests_are_listed_with_result_latency_and_refused_events(desk: Desk) -> None:
    """The filter shows those that did not deliver every event; each leads to its events."""
    shop = desk.destination()
    desk.post(shop, *(event(number) for number in range(1, 5)))
    desk.until_counted(shop, delivered=4)
    desk.fault(shop, kind="partial", indexes=[0], code="BAD_REQUEST")
    desk.post(shop, *(event(number) for number in range(11, 15)))
    desk.until_counted(shop, delivered=7, dead=1)
    desk.case.heal()
    here = f"/console/destinations/{shop}/requests"
    rows = re.findall(r"<tr><td>.*?</tr>", desk.get(here), re.S)
    assert len(rows) == 2
    assert ">207<" in rows[0]
    assert "ms</td>" in rows[0]
    assert re.search(r'tone-bad">1<', rows[0]), "one of the newest request's events was refused"
    request = re.search(r'href="(/console/events\?q=[^"]+)"', rows[0])
    assert request is not None
    events = read(desk.pages.get(request[1].replace("&amp;", "&"), follow_redirects=True))
    assert "ord-12" in events
    assert len(re.findall(r"<tr><td>", desk.get(here, failed="true"))) == 1
    assert desk.pages.get(here, params={"cursor": "bm9uc2Vuc2U"}).status_code == 422


def test_activate_listens_for_the_first_event_and_names_a_rejection(desk: Desk) -> None:
    shop = desk.destination()
    here = f"/console/destinations/{shop}/activate"
    assert "Waiting for your first event" in desk.get(here)
    bad = event(1)
    del bad["event"]["timestamp"]
    desk.post(shop, bad)
    text = desk.get(here)
    assert "Last rejected event" in text
    assert "<code>timestamp_missing</code>" in text
    desk.post(shop, event(2))
    desk.until_counted(shop, delivered=1)
    text = desk.get(here)
    assert "Waiting for your first event" not in text
    assert "ord-2" in text
    assert "Sent to Amazon" in text


def test_the_funnel_counts_its_losses(desk: Desk) -> None:
    """Received is the sum of what was accepted, rejected and repeated; each loss has its top reason."""
    shop = desk.destination()
    bad = event(1)
    del bad["event"]["timestamp"]
    desk.post(shop, bad, event(2), event(3))
    desk.post(shop, event(3))
    desk.until_counted(shop, delivered=2)
    desk.case.until(lambda: "duplicate" in desk.get(f"/console/destinations/{shop}"))
    text = re.sub(r"<[^>]+>|\s+", " ", desk.get(f"/console/destinations/{shop}"))
    funnel = re.sub(" +", " ", text[text.index("In the last 24 hours") : text.index("Since the destination")])
    assert "4 Received" in funnel
    assert "1 rejected (25 %) mostly timestamp missing" in funnel
    assert "1 duplicate" in funnel
    assert "2 Accepted" in funnel
    assert "2 Delivered" in funnel


async def test_the_funnel_compares_with_the_time_before(desk: Desk) -> None:
    """Only if something was received then; the buckets of an hour are read, once each."""
    shop = desk.destination()
    desk.post(shop, event(1), event(2))
    desk.until_counted(shop, delivered=2)
    assert "compared" not in desk.get(f"/console/destinations/{shop}")
    await execute(
        desk.product.database_url,
        "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted, delivered) "
        "SELECT 'default', number, seconds, date_bin(make_interval(secs => seconds), "
        "  now() - interval '30 hours', TIMESTAMPTZ '2000-01-01 00:00Z'), 4, 8 "
        f"FROM destinations, unnest(ARRAY[3600, 10800, 86400]) AS seconds WHERE id = '{shop}'",
    )
    page = desk.get(f"/console/destinations/{shop}")
    found = re.findall(r'<p class="compared help" title="([^"]+)">([^<]+)</p>', page)
    assert found == [
        ("4 in the same time before", "−50 %"),
        ("4 in the same time before", "−50 %"),
        ("8 in the same time before", "−75 %"),
    ]


def newest_request(desk: Desk, shop: str) -> str:
    """Return the address of the page of a destination's newest request."""
    return f"/console/destinations/{shop}/requests/{showcase.newest_request(desk.product, shop)}"


def test_a_request_shows_the_response_and_what_was_sent(desk: Desk) -> None:
    """Codes and words of Amazon, some headers, and the conversions without a personal value.

    The row of a refused event replays it, and each row copies its id.
    """
    shop = desk.destination()
    desk.fault(shop, kind="partial", indexes=[0], code="BAD_REQUEST")
    desk.post(shop, event(1), event(2))
    desk.until_counted(shop, delivered=1, dead=1)
    desk.case.heal()
    text = desk.get(f"/console/destinations/{shop}/events")
    assert text.count(">Copy ID</button>") == 2
    [link] = re.findall(r'href="([^"]+/replay\?[^"]+)"', text)
    assert "1 selected" in desk.get(link.replace("&amp;", "&"))
    answer = desk.pages.get(newest_request(desk, shop))
    words = read(answer)
    assert "Some refused" in words
    assert "BAD_REQUEST 1" in words
    assert "content-type application/json" in words
    assert "HTTP status 207" in words
    assert '"conversionType": "ADD_TO_SHOPPING_CART"' in words
    assert "Email in 2 events" in words
    assert re.search(r'"[0-9a-f]{6}…"', words), "a digest is cut"
    assert not re.search(r"[0-9a-f]{20,}", words.replace(shop, "")), "no digest and no other secret"
    assert "person1@example.com" not in answer.text


async def test_the_content_is_gone_with_its_key_and_counts_are_left(desk: Desk) -> None:
    shop = desk.destination()
    desk.post(shop, event(3))
    desk.until_counted(shop, delivered=1)
    address = newest_request(desk, shop)
    assert '"conversionType"' in read(desk.pages.get(address))
    await execute(
        desk.product.database_url, "UPDATE batch_states SET data_key = NULL WHERE disposition = 'sent'"
    )
    words = read(desk.pages.get(address))
    assert "its key was deleted" in words
    assert '"conversionType"' not in words
    assert "Email in 1 event" in words
    assert "Amazon accepted all 1 event. Details of such a response are not stored." in words


def test_a_request_of_another_destination_is_not_found(desk: Desk) -> None:
    shop, other = desk.destination(), desk.destination()
    desk.post(shop, event(4))
    desk.until_counted(shop, delivered=1)
    assert desk.pages.get(newest_request(desk, shop).replace(shop, other)).status_code == 404
    assert desk.pages.get(f"/console/destinations/{shop}/requests/0").status_code == 404


def test_an_open_breaker_names_its_next_probe_and_a_button_sends_it_now(desk: Desk) -> None:
    """The page counts down. After the cause has ended, the button delivers without the wait."""
    shop = desk.destination()
    desk.fault(shop, kind="5xx")
    desk.post(shop, event(5))
    page = ""

    def opened() -> bool:
        nonlocal page
        page = desk.get(f"/console/destinations/{shop}")
        left = re.search(r'data-until="[^"]+" role="timer">0:(\d\d)<', page)
        return left is not None and int(left[1]) >= 8

    desk.case.until(opened, seconds=90)
    assert "Retry now" in page
    assert "tripped until" in page
    assert "HTTP status 503" in read(desk.pages.get(newest_request(desk, shop)))
    desk.case.heal()
    waited = desk.get(f"/console/destinations/{shop}")
    answer = desk.submit(waited, f"/console/destinations/{shop}/retry", [])
    assert answer.status_code == 303
    assert "Retry requested." in desk.get(answer.headers["location"])
    desk.case.until(lambda: desk.case.counts(shop)["delivered"] == 1, seconds=5)
    rows = desk.api.get("/audit?action=events.retried").json()["items"]
    assert [row["subject"] for row in rows] == [shop]


def test_nothing_is_retried_for_a_paused_destination(desk: Desk) -> None:
    shop = desk.destination()
    assert desk.api.post(f"/destinations/{shop}/pause").status_code == 200
    page = desk.get(f"/console/destinations/{shop}")
    assert desk.submit(page, f"/console/destinations/{shop}/retry", []).status_code == 409
