"""The owner's eleven steps (R5 to R13): by the API alone, and again by one file; both end at the sandbox.

And what set-up must never do: break a mapping unseen, or leave a destination half connected.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest_asyncio
import yaml

from tests.pipeline.processes import Operator, Product
from tests.pipeline.world import MAPPING, event, eventually

NA_ADVERTISER, EU_ADVERTISER, STRANGER = "4000000000001", "4000000000002", "987654321"
GRANTED = {"amznAdStorage": "GRANTED", "amznUserData": "GRANTED"}
FIELDS = {**MAPPING["fields"], "phone": {"path": "user.phone"}, "first_name": {"path": "user.first_name"}}


@pytest_asyncio.fixture
async def operator(database_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """Somebody with the admin key, the API, a worker and the sandbox, each a process."""
    product = Product(database_url, tmp_path / "everything.log")
    try:
        product.start("sandbox", "sandbox")
        product.serve("api")
        product.work("worker")
        await asyncio.to_thread(
            product.ready, product.api + "/health/live", product.amazon + "/_sandbox/health"
        )
        async with httpx.AsyncClient(timeout=30) as client:
            await client.post(
                f"{product.amazon}/_sandbox/advertisers",
                json={
                    "advertisers": [
                        {"advertiser_id": NA_ADVERTISER, "region": "NA", "name": "Acme US"},
                        {"advertiser_id": EU_ADVERTISER, "region": "EU", "name": "Acme EU"},
                        {"advertiser_id": STRANGER, "region": "NA", "name": "Not theirs", "hidden": True},
                    ]
                },
            )
            yield Operator(product, client)
    finally:
        await asyncio.to_thread(product.close)


async def accepted(operator: Operator) -> list[dict[str, Any]]:
    """Return what the sandbox accepted."""
    answer = await operator.client.get(f"{operator.product.amazon}/_sandbox/events?limit=1000")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def delivered(operator: Operator, destination: str, number: int) -> bool:
    return (await operator.counts(destination))["delivered"] == number


async def send_one(operator: Operator, destination: str) -> None:
    """Let the journey send one event, and see it arrive as R11 and R12 want it."""
    one = event(1, destination_id=destination, user={"email": "ada@example.com", "phone": "+12025550173"})
    (result,) = await operator.post([one])
    assert result["status"] == "accepted", result
    await eventually(lambda: delivered(operator, destination, 1))
    (arrived,) = await accepted(operator)
    assert arrived["event"]["consent"]["amazonConsent"] == GRANTED
    assert arrived["event"]["eventDescription"]["name"] == MAPPING["event_name"]
    assert [key["type"] for key in arrived["event"]["matchKeys"]] == ["EMAIL", "PHONE"]


async def test_the_eleven_steps_by_the_api(operator: Operator) -> None:
    """From the catalogue of destinations to an event that Amazon took."""
    call = operator.call
    # R5, R7: found by searching, with its prerequisites and its form.
    (amazon,) = (await call("GET", "/catalog?q=amazon+conversions"))["items"]
    assert any("Advertiser" in one or "advertiser" in one for one in amazon["prerequisites"])
    assert {"name", "advertiser_id", "region", "currency"} <= {one["name"] for one in amazon["fields"]}
    # R6, R7: name, advertiser, region, currency.
    form = {"name": "Acme US", "advertiser_id": NA_ADVERTISER, "region": "NA", "currency": "USD"}
    made = await call("POST", "/destinations", form, status=201)
    path = f"/destinations/{made['id']}"
    assert made["state"] == "draft"
    # R8: connect, Allow, confirmed.
    await operator.allow((await call("POST", f"{path}/connect"))["authorize_url"])
    assert (await call("GET", path))["state"] == "connected"
    checks = {one["name"]: one["status"] for one in (await call("GET", f"{path}/preflight"))["checks"]}
    assert checks["sign_in"] == "ok"
    # R2, R3, R4, R9, R10, R11: the mapping with its action, fields, settings and consent.
    mapping = await call("POST", f"{path}/mappings", {**MAPPING, "fields": FIELDS}, status=201)
    assert mapping["problems"] == []
    place = f"{path}/mappings/{mapping['id']}"
    shown = await call("POST", f"{place}/preview", {"event": event(1)})
    assert shown["amazon_event"]["consent"]["amazonConsent"] == GRANTED
    await call("POST", f"{place}/publish")
    assert (await call("GET", path))["state"] == "active"
    # R12: a second name for the type is refused with the first.
    other = await call("POST", f"{path}/mappings", {**MAPPING, "event_name": "Added to Cart"}, status=201)
    refused = await call("POST", f"{path}/mappings/{other['id']}/publish", status=409)
    assert (refused["pinned_name"], refused["near_miss"]) == ("Added to cart", "case")
    # R13: the journey sends.
    await send_one(operator, made["id"])
    first = {one["name"]: one["status"] for one in (await call("GET", f"{path}/preflight"))["checks"]}
    assert first["first_event"] == "ok"


async def test_the_eleven_steps_by_one_file_and_a_change_that_would_lose_phones(operator: Operator) -> None:
    """plan says 2, apply makes it, plan says 0; after the sign-in an event arrives.

    Then a slip in the phone path: both the API's backtest and the plan say how many events lose PHONE, and
    `--max-loss 1%` refuses it.
    """
    product = operator.product

    def file(**changes: Any) -> str:
        mapping = {**MAPPING, "fields": {**FIELDS, **changes}}
        settings = {"name": "Acme US", "advertiser_id": NA_ADVERTISER, "region": "NA", "currency": "USD"}
        return yaml.safe_dump({"version": 1, "destinations": [{**settings, "mappings": [mapping]}]})

    async def run(*arguments: str, given: str) -> tuple[int, str]:
        done = await asyncio.to_thread(product.run, *arguments, given=given)
        return done.returncode, done.stdout + done.stderr

    assert (await run("plan", "-", given=file()))[0] == 2
    code, output = await run("apply", "-", given=file())
    assert code == 0, output
    assert "not connected" in output
    assert (await run("plan", "-", given=file()))[0] == 0
    ((destination,),) = [[one["id"] for one in (await operator.call("GET", "/destinations"))["items"]]]
    url = (await operator.call("POST", f"/destinations/{destination}/connect"))["authorize_url"]
    await operator.allow(url)
    await send_one(operator, destination)

    phones = [{"user": {"email": f"p{n}@example.com", "phone": f"+120255501{n:02}"}} for n in range(11)]
    rest = [{"user": {"email": f"q{n}@example.com"}} for n in range(8)]
    batch = [event(100 + n, destination_id=destination, **one) for n, one in enumerate(phones + rest)]
    assert {one["status"] for one in await operator.post(batch)} == {"accepted"}
    (mapping,) = (await operator.call("GET", f"/destinations/{destination}/mappings"))["items"]
    place = f"/destinations/{destination}/mappings/{mapping['id']}"
    broken = {"mapping": {**MAPPING, "fields": {**FIELDS, "phone": {"path": "user.fone"}}}}
    report = await operator.call("POST", f"{place}/backtest", broken)
    assert report["summary"] == "Of the last 20: 12 lose PHONE."
    learned = await operator.call("GET", f"/destinations/{destination}/event-schema")
    assert {one["path"]: one["fill_rate"] for one in learned["items"]}["user.phone"] == 0.6
    slip = file(phone={"path": "user.fone"})
    code, output = await run("plan", "-", given=slip)
    assert (code, "Of the last 20: 12 lose PHONE." in output) == (2, True), output
    for command in ("plan", "apply"):
        code, output = await run(command, "-", "--max-loss", "1%", given=slip)
        assert (code, "12 lose PHONE" in output) == (1, True), output
    assert (await run("plan", "-", given=file()))[0] == 0
    exported = await asyncio.to_thread(product.run, "export")
    assert (await run("plan", "-", given=exported.stdout))[0] == 0


# --- Signing in -----------------------------------------------------------------------------------


async def drafted(operator: Operator, advertiser: str = NA_ADVERTISER, region: str = "NA") -> str:
    form = {"name": f"Acme {advertiser} {region}", "advertiser_id": advertiser}
    form |= {"region": region, "currency": "USD"}
    return str((await operator.call("POST", "/destinations", form, status=201))["id"])


async def clicked(operator: Operator, destination: str, decision: str = "allow") -> str:
    """Click at the sandbox's page, and return where it sends the browser, without going there."""
    url = (await operator.call("POST", f"/destinations/{destination}/connect"))["authorize_url"]
    parts = urlsplit(url)
    form = {**dict(parse_qsl(parts.query)), "decision": decision}
    answer = await operator.client.post(f"{parts.scheme}://{parts.netloc}{parts.path}", data=form)
    assert answer.status_code in (302, 303), answer.text
    return str(answer.headers["location"])


async def back(operator: Operator, address: str, *, status: int, error: str) -> None:
    """Come back as a browser, and see a page that says what is wrong."""
    answer = await operator.client.get(address, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert error in answer.text
    code = parse_qs(urlsplit(address).query).get("code")
    assert code is None or code[0] not in answer.text


async def stays_draft(operator: Operator, destination: str) -> None:
    found = await operator.call("GET", f"/destinations/{destination}")
    assert (found["state"], found["connected"]) == ("draft", False)


async def test_a_sign_in_that_goes_wrong_is_a_clear_page_and_no_half_connection(operator: Operator) -> None:
    """Deny, a state used twice, a replayed callback, a made-up code, the wrong account, the wrong region."""
    draft = await drafted(operator)
    await back(operator, await clicked(operator, draft, "deny"), status=400, error="access_denied")
    await stays_draft(operator, draft)

    stranger = await drafted(operator, STRANGER)
    await back(operator, await clicked(operator, stranger), status=409, error="advertiser_not_visible")
    await stays_draft(operator, stranger)

    elsewhere = await drafted(operator, EU_ADVERTISER, "NA")
    await back(operator, await clicked(operator, elsewhere), status=409, error="advertiser_not_visible")
    await stays_draft(operator, elsewhere)

    address = await clicked(operator, draft)
    (code,) = parse_qs(urlsplit(address).query)["code"]
    await back(operator, address.replace(code, "made-up-code"), status=400, error="sign_in_failed")
    await stays_draft(operator, draft)
    # The state was spent on the made-up code: the right one comes too late, too.
    await back(operator, address, status=400, error="invalid_state")
    await stays_draft(operator, draft)

    good = await clicked(operator, draft)
    answer = await operator.client.get(good, headers={"Accept": "application/json"})
    assert answer.json()["status"] == "connected"
    await back(operator, good, status=400, error="invalid_state")
    assert (await operator.call("GET", f"/destinations/{draft}"))["connected"] is True
