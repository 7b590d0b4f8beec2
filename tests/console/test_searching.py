"""The search: an event by its own id or by the journey execution that sent it, and how far back it looked."""

from playwright.sync_api import Route, expect

from tests.console.browsing import Site
from tests.console.showcase import opened, signed_in
from tests.console.test_event_pages import Desk, desk
from tests.console.test_seeded_faults import read
from tests.pipeline.world import event

__all__ = ["desk"]


async def test_events_are_found_by_the_execution_that_sent_them(desk: Desk) -> None:
    """All of it, over destinations, none of another's; each leads to its own page, which leads back."""
    first, second = await desk.destination(), await desk.destination()
    run = {"id": "j1", "node_id": "n7", "execution_id": "run-7/ä"}
    await desk.post(first, event(1, journey=run), event(2, journey={**run, "execution_id": "run-7/ä2"}))
    await desk.post(second, event(3, journey=run), event(4))
    page = await desk.pages.get("/console/events", params={"q": "run-7/ä"})
    assert page.status_code == 200
    text = read(page)
    assert "ord-1" in text
    assert "ord-3" in text
    assert "ord-2" not in text
    assert "ord-4" not in text
    story = await desk.pages.get(f"/console/destinations/{second}/event", params={"id": "ord-3"})
    assert "q=run-7/%C3%A4" in story.text

    listed = await desk.pages.get(f"/console/destinations/{first}/events", params={"execution_id": "run-7/ä"})
    assert "ord-1" in listed.text
    assert "ord-2" not in listed.text


async def test_a_key_limited_to_destinations_finds_nothing_of_others(desk: Desk) -> None:
    """Neither by event id nor by execution id."""
    mine, other = await desk.destination(), await desk.destination()
    await desk.post(mine, event(31, journey={"execution_id": "shared-run"}))
    await desk.post(other, event(32, journey={"execution_id": "shared-run"}))
    scopes = ["destinations:read", "events:read"]
    body = {"name": "limited", "scopes": scopes, "destination_ids": [mine]}
    key = (await desk.api.post("/keys", json=body)).json()["key"]
    async with signed_in(desk.product, key) as client:
        text = read(await client.get("/console/events", params={"q": "shared-run"}))
        assert "ord-31" in text
        assert "ord-32" not in text
        assert "No event found" in read(await client.get("/console/events", params={"q": "ord-32"}))


def test_a_search_without_an_index_continues_until_it_finds_something(site: Site) -> None:
    """It shows how much it has searched, and ends when it is stopped."""
    case = opened(site.product)
    shop = case.shop("Searched", "1000000001")
    case.send(case.events(shop, 1))
    site.sign_in()
    asked = []

    def serve(route: Route) -> None:
        """Answer as a search of many events: nothing on the first two pages, then the newest events."""
        asked.append(route.request.url)
        if "cursor=second" in route.request.url:
            route.fulfill(response=route.fetch(url=f"{site.product.api}/console/events"))
            return
        following = "first" if "cursor" not in route.request.url else "second"
        page = route.fetch(url=f"{site.product.api}/console/events?status=expired").text()
        progress = (
            f'<p data-continues="/console/events?status=expired&amp;cursor={following}">'
            'Searched 12 of 30 days. <button type="button" data-stop hidden>Stop</button></p>'
        )
        html = page.replace('<div id="results">', f'<div id="results">{progress}')
        route.fulfill(body=html, content_type="text/html; charset=utf-8")

    site.page.route("**/console/events?status=expired**", serve)
    site.open("/console/events?status=expired")
    expect(site.page.locator("#results tbody tr").first).to_be_visible()
    assert len(asked) == 3
    assert site.page.url.endswith("cursor=second")

    site.page.unroute("**/console/events?status=expired**")

    def hang(route: Route) -> None:
        if "cursor" not in route.request.url:
            serve(route)

    site.page.route("**/console/events?status=expired**", hang)
    site.open("/console/events?status=expired")
    expect(site.page.get_by_text("Searched 12 of 30 days.")).to_be_visible()
    site.page.get_by_role("button", name="Stop").click()
    expect(site.page.get_by_role("button", name="Stop")).to_have_count(0)
