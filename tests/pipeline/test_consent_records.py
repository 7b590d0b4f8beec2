"""A consent record for every accepted event: basis, source, times, decision, a hash for the string.

Also as a CSV file of the console.
"""

import hashlib
from dataclasses import fields
from typing import Any

from app.admin.privacy.consent_records import ConsentRecord
from app.domain.batch import EventMetadata, read_shapes
from app.domain.conversion.consent import Mode, decision, evidence
from app.domain.conversion.tcf import consent_to_all
from tests.pipeline.conftest import service
from tests.pipeline.rows import MAPPING
from tests.pipeline.service import Service
from tests.pipeline.world import event
from tests.tables import cases

TCF = consent_to_all()


@cases(
    ("mode", "signal", "kept", "decided"),
    {
        "the mapping says so": (Mode.GRANTED, {"amazonConsent": {}}, None, "granted"),
        "none is asked for": (Mode.NONE, {}, None, "not_required"),
        "the pair as given": (
            Mode.AMAZON,
            {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "DENIED"}},
            "GRANTED/DENIED",
            "granted",
        ),
        "half a pair": (Mode.AMAZON, {"amazonConsent": {"amznUserData": "GRANTED"}}, "GRANTED/-", "granted"),
        "no consent where none is required": (Mode.AMAZON, {}, None, "not_required"),
        "a GPP string is passed on": (
            Mode.GPP,
            {"gpp": "DBAA~x"},
            "sha256:" + hashlib.sha256(b"DBAA~x").hexdigest(),
            "passed_on",
        ),
    },
)
def test_the_stored_record_of_a_consent(
    mode: Mode, signal: dict[str, Any], kept: str | None, decided: str
) -> None:
    """Never the string itself."""
    assert evidence(mode, signal) == kept
    assert decision(mode, kept) == decided


async def published(service: Service, dst: str, name: str, consent: dict[str, Any]) -> str:
    """Publish another mapping of a destination; return its id."""
    path = f"/destinations/{dst}/mappings"
    made = await service.do(path, {**MAPPING, "name": name, "consent": consent})
    await service.do(f"{path}/{made['id']}/publish", {})
    return str(made["id"])


async def test_each_accepted_event_has_its_record(service: Service) -> None:
    """Paged, newest first; what the gate stopped is counted by reason and never has one."""
    dst = await service.world.destination(region="EU")
    mapping = await published(service, dst, "TCF", {"mode": "tcf", "string": "consent.tcf"})
    with_string = [event(n, mapping_id=mapping, consent={"tcf": TCF}) for n in range(5)]
    results = await service.world.post(dst, *with_string, event(9, mapping_id=mapping))
    assert [one.status for one in results] == ["accepted"] * 5 + ["rejected"]

    records = f"/destinations/{dst}/consent-records"
    found = await service.all_items(records, limit="2")
    assert [one["event_id"] for one in found] == [f"ord-{n}" for n in reversed(range(5))]
    for one in found:
        assert set(one) == {field.name for field in fields(ConsentRecord)}
        assert (one["basis"], one["source"], one["decision"]) == ("tcf", "consent.tcf", "granted")
        assert one["string_sha256"] == hashlib.sha256(TCF.encode()).hexdigest()
        assert (one["mapping_id"], one["mapping_version"], one["signal"]) == (mapping, 1, None)
    page = await service.get(records)
    assert page["stopped"] == [{"reason": "consent_missing", "basis": "tcf", "events": 1}]
    assert TCF not in str(page)


async def test_events_without_consent_are_counted_by_their_basis(service: Service) -> None:
    """Two mappings, one of them changed meanwhile: each event counts under the mode it was judged by."""
    dst = await service.world.destination(region="EU")
    path = f"/destinations/{dst}"
    pair = await published(service, dst, "Pair", {"mode": "amazon", "user_data": "consent.user_data"})
    gpp = await published(service, dst, "GPP", {"mode": "gpp", "string": "consent.gpp"})
    named = [
        (pair, {}),
        (pair, {"user_data": "DENIED"}),
        (pair, {"user_data": "no"}),
        (gpp, {"gpp": "nothing of the kind"}),
    ]
    events = [event(n, mapping_id=mapping, consent=consent) for n, (mapping, consent) in enumerate(named)]
    await service.world.post(dst, *events)
    await service.client.patch(f"{path}/mappings/{gpp}", json={"consent": {"mode": "none"}})
    await service.do(f"{path}/mappings/{gpp}/publish", {})
    await service.world.post(dst, event(9, mapping_id=gpp))

    async def stopped() -> list[tuple[str, str | None, int]]:
        page = await service.get(f"{path}/consent-records")
        return [(one["reason"], one["basis"], one["events"]) for one in page["stopped"]]

    assert await stopped() == [
        ("consent_denied", "amazon", 2),
        ("consent_invalid", "gpp", 1),
        ("consent_missing", "amazon", 1),
        ("consent_missing", "none", 1),
    ]
    stats = await service.get(f"{path}/stats")
    assert stats["counts"]["rejected"] == 5
    assert stats["match_key_coverage"] == {"events": 0, "match_keys": [], "dropped": []}
    assert stats["rates"]["accepted_per_second"] == 0

    shown = await service.console(f"{path}/consent")
    assert "the GPP string of each event</td><td" in shown
    assert "the mapping requires no consent</td><td" in shown

    # What an earlier release stopped is in the rejections alone.
    await service.world.fetch("DELETE FROM consent_stops WHERE basis = 'none'")
    assert ("consent_missing", None, 1) in await stopped()

    # Before anything was blocked, the page names what is checked: the published mapping, not its draft.
    await service.world.fetch("DELETE FROM consent_stops")
    await service.world.fetch("DELETE FROM rejections")
    await service.client.patch(f"{path}/mappings/{gpp}", json={"consent": {"mode": "granted"}})
    shown = await service.console(f"{path}/consent")
    assert "the mapping requires no consent" in shown


def test_a_batch_from_before_the_records_can_still_be_read() -> None:
    """An older shape has no such member; it counts as an event without consent of its own."""
    import msgspec
    import zstandard

    old = [(0, "ord-1", 1, 1, "OTHER", 0, ("EMAIL",), ())]
    kept = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(old))
    assert read_shapes(kept) == [EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, ("EMAIL",), ())]


__all__ = ["service"]


async def test_the_consent_file_is_the_export_of_the_records(service: Service) -> None:
    """Which makes no cell a formula, and says what it lacks."""
    destination = await service.world.destination(event(1), {**event(2), "event_id": "=cmd()"})
    exported = await service.client.get(f"/destinations/{destination}/consent-records?format=csv")
    assert "'=cmd()" in exported.text
    await service.form("/console/sign-in", key=service.key)
    answer = await service.client.get(f"/console/destinations/{destination}/consent.csv")
    assert (answer.status_code, answer.text) == (200, exported.text)
    disposition = f'attachment; filename="consent-{destination}.csv"'
    assert answer.headers["content-disposition"] == disposition
