"""A consent record for every accepted event: basis, source, times, decision, a hash for the string."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from app.admin.privacy.consent_records import ConsentRecord
from app.domain.batch import EventMetadata, read_shapes
from app.domain.conversion.consent import Mode, decision, evidence
from app.domain.conversion.tcf import consent_to_all
from tests.pipeline.processes import ADMIN, Operator, Product
from tests.pipeline.world import MAPPING, event

TCF = consent_to_all()


@pytest.mark.parametrize(
    ("mode", "signal", "kept", "decided"),
    [
        pytest.param(Mode.GRANTED, {"amazonConsent": {}}, None, "granted", id="the mapping says so"),
        pytest.param(Mode.NONE, {}, None, "not_required", id="none is asked for"),
        pytest.param(
            Mode.AMAZON,
            {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "DENIED"}},
            "GRANTED/DENIED",
            "granted",
            id="the pair as given",
        ),
        pytest.param(
            Mode.AMAZON,
            {"amazonConsent": {"amznUserData": "GRANTED"}},
            "GRANTED/-",
            "granted",
            id="half a pair",
        ),
        pytest.param(Mode.AMAZON, {}, None, "not_required", id="no consent where none is required"),
        pytest.param(
            Mode.GPP,
            {"gpp": "DBAA~x"},
            "sha256:" + hashlib.sha256(b"DBAA~x").hexdigest(),
            "passed_on",
            id="a GPP string is passed on",
        ),
    ],
)
def test_the_stored_record_of_a_consent(
    mode: Mode, signal: dict[str, Any], kept: str | None, decided: str
) -> None:
    """Never the string itself."""
    assert evidence(mode, signal) == kept
    assert decision(mode, kept) == decided


@pytest_asyncio.fixture
async def operator(database_url: str, tmp_path: Any) -> AsyncIterator[Operator]:
    """The API and the sandbox; no worker is needed to accept."""
    product = Product(database_url, tmp_path / "everything.log")
    try:
        product.start("sandbox", "sandbox")
        product.serve("api")
        product.ready(product.api + "/health/live", product.amazon + "/_sandbox/health")
        async with httpx.AsyncClient(timeout=30) as client:
            yield Operator(product, client)
    finally:
        product.close()


async def test_each_accepted_event_has_its_record(operator: Operator) -> None:
    """Paged, newest first; what the gate stopped is counted by reason and never has one."""
    destination = await operator.destination("2000000001", region="EU")
    path = f"/destinations/{destination}"
    consent = {"mode": "tcf", "string": "consent.tcf"}
    mapping = await operator.call(
        "POST", f"{path}/mappings", {**MAPPING, "name": "TCF", "consent": consent}, status=201
    )
    await operator.call("POST", f"{path}/mappings/{mapping['id']}/publish")
    with_string = [
        event(n, destination_id=destination, mapping_id=mapping["id"], consent={"tcf": TCF}) for n in range(5)
    ]
    without = event(9, destination_id=destination, mapping_id=mapping["id"])
    results = await operator.post([*with_string, without])
    assert [one["status"] for one in results] == ["accepted"] * 5 + ["rejected"]

    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await operator.call("GET", f"{path}/consent-records?limit=2{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [one["event_id"] for one in found] == [f"ord-{n}" for n in reversed(range(5))]
    for one in found:
        assert set(one) == {field.name for field in fields(ConsentRecord)}
        assert (one["basis"], one["source"], one["decision"]) == ("tcf", "consent.tcf", "granted")
        assert one["string_sha256"] == hashlib.sha256(TCF.encode()).hexdigest()
        assert (one["mapping_id"], one["mapping_version"], one["signal"]) == (mapping["id"], 1, None)
    assert page["stopped"] == [{"reason": "consent_missing", "basis": "tcf", "events": 1}]
    assert TCF not in str(page)


async def test_events_without_consent_are_counted_by_their_basis(
    operator: Operator, database_url: str
) -> None:
    """Two mappings, one of them changed meanwhile: each event counts under the mode it was judged by."""
    destination = await operator.destination("2000000002", region="EU")
    path = f"/destinations/{destination}"

    async def published(name: str, consent: dict[str, Any]) -> str:
        made = await operator.call(
            "POST", f"{path}/mappings", {**MAPPING, "name": name, "consent": consent}, status=201
        )
        await operator.call("POST", f"{path}/mappings/{made['id']}/publish")
        return str(made["id"])

    pair = await published("Pair", {"mode": "amazon", "user_data": "consent.user_data"})
    gpp = await published("GPP", {"mode": "gpp", "string": "consent.gpp"})
    named = [
        (pair, {}),
        (pair, {"user_data": "DENIED"}),
        (pair, {"user_data": "no"}),
        (gpp, {"gpp": "nothing of the kind"}),
    ]
    await operator.post(
        [
            event(n, destination_id=destination, mapping_id=mapping, consent=consent)
            for n, (mapping, consent) in enumerate(named)
        ]
    )
    await operator.call("PATCH", f"{path}/mappings/{gpp}", {"consent": {"mode": "none"}})
    await operator.call("POST", f"{path}/mappings/{gpp}/publish")
    await operator.post([event(9, destination_id=destination, mapping_id=gpp)])

    async def stopped() -> list[tuple[str, str | None, int]]:
        page = await operator.call("GET", f"{path}/consent-records")
        return [(one["reason"], one["basis"], one["events"]) for one in page["stopped"]]

    assert await stopped() == [
        ("consent_denied", "amazon", 2),
        ("consent_invalid", "gpp", 1),
        ("consent_missing", "amazon", 1),
        ("consent_missing", "none", 1),
    ]
    stats = await operator.call("GET", f"{path}/stats")
    assert stats["counts"]["rejected"] == 5
    assert stats["match_key_coverage"] == {"events": 0, "match_keys": [], "dropped": []}
    assert stats["rates"]["accepted_per_second"] == 0

    shown = await _page(operator, f"/console{path}/consent")
    assert "the GPP string of each event</td><td" in shown
    assert "the mapping requires no consent</td><td" in shown

    # What an earlier release stopped is in the rejections alone.
    database = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await database.execute("DELETE FROM consent_stops WHERE basis = 'none'")
    await database.close()
    assert ("consent_missing", None, 1) in await stopped()


async def _page(operator: Operator, path: str) -> str:
    """Read a page of the console, signed in with the admin key."""
    api = operator.product.api
    form, origin = {"key": ADMIN, "next": path}, {"Origin": api}
    async with httpx.AsyncClient(base_url=api, follow_redirects=True) as browser:
        answer = await browser.post("/console/sign-in", data=form, headers=origin)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_batch_from_before_the_records_can_still_be_read() -> None:
    """An older shape has no such member; it counts as an event without consent of its own."""
    import msgspec
    import zstandard

    old = [(0, "ord-1", 1, 1, "OTHER", 0, ("EMAIL",), ())]
    kept = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(old))
    assert read_shapes(kept) == [EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, ("EMAIL",), ())]
