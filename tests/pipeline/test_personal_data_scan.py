"""`scan-personal-data` finds what is stored in clear, wherever it is, and shows none of it."""

import argparse
import asyncio
import base64
import hashlib
import json

import pytest
import zstandard

from app.commands import WrongArguments, scan_personal_data
from app.crypto import NamedKey, Vault, open_batch, seal_batch
from app.domain.ids import BatchId
from tests.pipeline.test_replaying import ask, dead
from tests.pipeline.world import World, settings_of

CANARY = "Canary-7f3a@example.com"


async def scan(world: World, capsys: pytest.CaptureFixture[str], *canaries: str) -> tuple[int, list[str]]:
    """Return the exit code and the findings; fails the test if a value is printed."""
    capsys.readouterr()
    arguments = argparse.Namespace(canary=list(canaries))
    code = await asyncio.to_thread(scan_personal_data.run, settings_of(world.url), arguments)
    output = capsys.readouterr()
    assert CANARY.lower() not in (output.out + output.err).lower()
    assert "0100199" not in output.out.replace(" ", "")
    *found, total = output.out.splitlines()
    assert total.startswith("Searched ")
    assert ("and 1 canary: " if len(canaries) == 1 else f"and {len(canaries)} canaries: ") in total
    return code, found


async def test_a_large_table_may_be_read_for_two_minutes(world: World) -> None:
    """The client's limit for other statements, 35 seconds, does not end it."""
    async with scan_personal_data._connected(settings_of(world.url)) as connection:
        assert await connection.fetchval("SHOW statement_timeout") == "2min"
        assert connection._config.command_timeout is None


def test_a_batch_is_encrypted_with_a_data_key_of_its_own() -> None:
    """The scan cannot see whether a compressed content is encrypted too."""
    vault, plain, id_ = Vault([NamedKey("k1", b"k" * 32)]), CANARY.encode() * 3, BatchId(1)
    (_, content), (other_key, _) = seal_batch(id_, plain, vault), seal_batch(id_, plain, vault)
    assert CANARY.encode() not in content
    assert open_batch(id_, other_key, content, vault) is None


async def test_the_digest_of_the_ids_of_a_replay_is_no_finding(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator replays events by their ids; the record and its audit row hold the SHA-256 of these ids."""
    dst = await dead(world, 2)
    await world.stop_workers()
    assert (await ask(world, dst, event_ids=["ord-0", "ord-1"])).replayed == 2
    (row,) = await world.fetch("SELECT selection::text FROM replays")
    assert '"sha256": "' in row["selection"]
    assert await scan(world, capsys) == (0, [])


async def test_a_hashed_match_key_is_found_whatever_its_member_is_called(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in the columns of the digests of ids: only those digests themselves are no finding."""
    await world.destination()
    hashed = hashlib.sha256(CANARY.lower().encode()).hexdigest()
    await world.fetch("UPDATE mappings SET draft = $1", json.dumps({"sha256": hashed}))
    await world.fetch(
        "INSERT INTO audit (actor, action, subject, after) VALUES ('x', 'y', 'z', $1)",
        json.dumps({"sha256": hashed}),
    )
    assert await scan(world, capsys) == (
        1, ["audit.after: SHA-256 in hex: 1 value", "mappings.draft: SHA-256 in hex: 1 value"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "value", "found"),
    [
        ("UPDATE destinations SET name = $1", CANARY, "destinations.name"),
        ("UPDATE mappings SET draft = $1", json.dumps({"path": [CANARY]}), "mappings.draft"),
        ("UPDATE event_names SET name = $1", f"for {CANARY}", "event_names.name"),
        (
            "INSERT INTO secrets VALUES ('x', $1)",
            b"\x00\xff" + CANARY.lower().encode() + b"\x00",
            "secrets.sealed",
        ),
        (
            "INSERT INTO batches VALUES ((now() AT TIME ZONE 'UTC')::date, 900, 1, '', $1)",
            zstandard.ZstdCompressor().compress(CANARY.encode() * 9),
            "batches.shapes",
        ),
        (
            "INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason, "
            "item_outcomes) VALUES (1, 1, now(), 1, 'dead', now(), 'x', ARRAY[$1::jsonb])",
            json.dumps({"message": CANARY}),
            "exceptions.item_outcomes",
        ),
    ],
)
async def test_a_value_in_clear_is_found_in_its_column(
    world: World, capsys: pytest.CaptureFixture[str], statement: str, value: object, found: str
) -> None:
    """By the canary and, without one, by the pattern: text, JSON, lists, binary and compressed values."""
    await world.destination()
    await world.fetch("INSERT INTO event_names (advertiser_id, event_type, name) VALUES ('1', 'x', 'y')")
    await world.fetch(statement, value)
    by_canary = await scan(world, capsys, CANARY)
    assert by_canary == (1, [f"{found}: canary 1: 1 value", f"{found}: e-mail address: 1 value"])
    assert await scan(world, capsys) == (1, [f"{found}: e-mail address: 1 value"])


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (hashlib.sha256(CANARY.lower().encode()).hexdigest(), "canary 1, SHA-256 in hex"),
        (base64.b64encode(CANARY.encode()).decode(), "canary 1, base64"),
        (CANARY.lower().encode().hex(), "canary 1, hex"),
    ],
)
async def test_a_canary_is_found_in_other_forms(
    world: World, capsys: pytest.CaptureFixture[str], value: str, what: str
) -> None:
    """Encoded and hashed."""
    await world.destination()
    await world.fetch("UPDATE destinations SET name = $1", f"x {value} y")
    code, found = await scan(world, capsys, CANARY)
    assert code == 1
    assert f"destinations.name: {what}: 1 value" in found


def test_a_canary_that_is_found_by_chance_is_refused() -> None:
    """Two letters stand in every table."""
    arguments = argparse.Namespace(canary=["ab"])
    with pytest.raises(WrongArguments, match="4 characters"):
        scan_personal_data.run(settings_of("postgresql://x@y/z"), arguments)


@pytest.mark.parametrize(
    ("value", "is_phone_number"),
    [("+123456789012345", True), ("+1 555 010 0199", True), ("+1234567890123456", False)],
)
async def test_a_phone_number_is_found_and_an_event_id_with_sixteen_digits_is_none(
    world: World, capsys: pytest.CaptureFixture[str], value: str, is_phone_number: bool
) -> None:
    """With its plus sign, however it is spaced; the advertiser's number is none.

    Event ids of `+` and more than 15 digits are accepted, so that the scan may not report them.
    """
    await world.destination()
    await world.fetch("UPDATE destinations SET name = $1, advertiser_id = '580123456789'", f"x {value} y")
    found = ["destinations.name: phone number: 1 value"] if is_phone_number else []
    assert await scan(world, capsys) == (len(found), found)
