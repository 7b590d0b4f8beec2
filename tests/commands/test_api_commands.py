"""The commands that speak the API, against a running one."""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import cli
from app.commands.api_client import ApiUnreachable
from app.commands.api_commands import (
    COMMANDS,
    FIRST_EVENTS,
    TAIL_COLUMNS,
    TAIL_FILTERS,
    TailWindow,
    tail_events,
)
from app.processes.application import api_description
from tests.commands.tls import Certificates
from tests.listening import content_of, listening, says
from tests.pipeline.served import ADMIN, served_world
from tests.pipeline.world import World, event
from tests.tables import cases

NOT_THE_API = "The address returned 400, but is not the API: check --api."
Outcome = tuple[int, str, str]
Command = Callable[..., Coroutine[Any, Any, Outcome]]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A service with its API on a port; `world.port` is its."""
    async with served_world(database_url) as (made, port):
        made.port = port  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command with the key in a file; return exit code, output and errors."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    key_file = tmp_path / "key"
    key_file.write_text(ADMIN + "\n")
    place = ("--api", f"http://127.0.0.1:{world.port}", "--key-file", str(key_file))  # type: ignore[attr-defined]

    async def run(*words: str) -> Outcome:
        return (await asyncio.to_thread(cli.main, [*words, *place])), *capsys.readouterr()

    return run


async def test_a_destination_is_listed_paused_and_resumed(world: World, command: Command) -> None:
    """Tables for people, the API's own JSON for programs."""
    destination = await world.destination()
    code, out, _ = await command("destinations", "list")
    assert (code, destination in out) == (0, True)
    assert out.startswith("id")
    code, out, _ = await command("destinations", "list", "--json")
    assert [item["id"] for item in json.loads(out)["items"]] == [destination]
    for verb, state in (("pause", "paused"), ("resume", "active"), ("show", "active")):
        code, out, _ = await command("destinations", verb, destination, "--json")
        assert (code, json.loads(out)["state"]) == (0, state)


async def test_events_are_listed_with_their_history(world: World, command: Command) -> None:
    """An id with a slash is one part of the path."""
    destination = await world.destination({**event(1), "event_id": "a/1"}, event(2))
    code, out, _ = await command("events", "list", destination, "--status", "queued", "--json")
    assert (code, len(json.loads(out)["items"])) == (0, 2)
    code, out, _ = await command("events", "show", destination, "a/1")
    assert code == 0
    assert "queued" in out
    code, out, _ = await command("stats", destination)
    assert code == 0
    assert "counts.accepted" in out


async def test_sessions_are_listed_and_ended(world: World, command: Command) -> None:
    """With the person or the key; an unknown session is the API's own sentence."""
    await world.fetch(
        "INSERT INTO console_sessions (digest, subject, display_name, role, roles) "
        "VALUES (sha256('c'), 'ada', 'Ada', 'admin', '{admin,viewer}')"
    )
    code, out, _ = await command("sessions", "list")
    assert (code, "Ada" in out, "admin, viewer" in out) == (0, True, True)
    _, out, _ = await command("sessions", "list", "--json")
    (item,) = json.loads(out)["items"]
    assert item["person"] == {"sub": "ada", "name": "Ada"}
    assert (await command("sessions", "end", item["id"]))[0] == 0
    code, _, errors = await command("sessions", "end", item["id"])
    assert (code, "Not found" in errors) == (1, True)


async def test_mappings_are_published_and_rolled_back(world: World, command: Command) -> None:
    """As the API does; a version that does not exist is the API's own sentence."""
    destination = await world.destination()
    _, out, _ = await command("mappings", "list", destination, "--json")
    mapping = json.loads(out)["items"][0]["id"]
    _, out, _ = await command("mappings", "publish", destination, mapping, "--note", "why", "--json")
    assert json.loads(out)["published_version"] == 1
    assert (await command("mappings", "rollback", destination, mapping, "1"))[0] == 0
    code, out, errors = await command("mappings", "rollback", destination, mapping, "99")
    assert (code, out) == (1, "")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_authority_of_the_company_is_trusted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_trusted: bool,
) -> None:
    """As for other requests, if OUTBOUND_CA_FILE names it."""
    authority = Certificates.create(tmp_path)
    if is_trusted:
        monkeypatch.setenv("OUTBOUND_CA_FILE", str(authority.authority))
    errors = await _listed(tmp_path, capsys, "200 OK", b"[]", authority.server)
    assert ("is not the API" if is_trusted else "set OUTBOUND_CA_FILE") in errors


async def test_what_goes_wrong_is_one_sentence(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown destination, no API, no key file."""
    code, _, errors = await command("destinations", "show", "dst_0000000000000000")
    assert (code, errors.count("\n")) == (1, 1)
    key, no_keys = tmp_path / "key", [tmp_path / str(number) for number in range(4)]
    for file, content in zip(no_keys, ("", "ack_1\nack_2", "ack_\u00e4", "\u200b"), strict=True):
        file.write_text(content)
    no_keys[0].write_bytes("ack_1".encode("utf-16"))
    for words, part, expected in (
        (("--api", "http://127.0.0.1:1", "--key-file", str(key)), "at 127.0.0.1:1 ([Errno 111]", 1),
        (("--key-file", str(tmp_path / "none")), "cannot be read", 2),
        *((("--key-file", str(file)), "holds no API key", 2) for file in no_keys),
    ):
        code = await asyncio.to_thread(cli.main, ["destinations", "list", *words])
        assert (code, part in capsys.readouterr().err) == (expected, True)


@cases(
    "answer",
    {
        "a list": b"[1]",
        "no list": b"{}",
        "a text": b'"text"',
        "no JSON": b"<html>",
        "no UTF-8": b'{"\xff":1}',
        "too deep": b'{"a":' + b"[" * 9_999,
        "items are null": b'{"items": null, "next_cursor": null}',
        "items are texts": b'{"items": ["a"], "next_cursor": null}',
        "no cursor": b'{"items": []}',
        "a cursor of another kind": b'{"items": [], "next_cursor": [1]}',
    },
)
async def test_an_address_of_another_service_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    """Whatever it answers: JSON of another kind, or no JSON."""
    assert await _listed(tmp_path, capsys, "200 OK", answer) == f"{NOT_THE_API.replace('400', '200')}\n"


@cases(
    "answer, sentence",
    {
        "fields are null": (b'{"detail": "It is wrong.", "fields": null}', "It is wrong."),
        "no fields": (b'{"detail": "It is wrong."}', "It is wrong."),
        "fields": (
            b'{"detail": "It is wrong.", "fields": [{"field": "name", "problem": "too_long"}]}',
            "It is wrong. name: too_long",
        ),
        "fields are a text": (b'{"detail": "It is wrong.", "fields": "name"}', "It is wrong."),
        "fields are texts": (b'{"detail": "It is wrong.", "fields": ["name"]}', "It is wrong."),
        "a field without a problem": (
            b'{"detail": "It is wrong.", "fields": [{"field": "name"}]}',
            "It is wrong.",
        ),
        "no detail": (b'{"error": "invalid"}', NOT_THE_API),
        "detail is null": (b'{"detail": null, "fields": []}', NOT_THE_API),
        "a list": (b"[]", NOT_THE_API),
        "a text": (b'"wrong"', NOT_THE_API),
        "no JSON": (b"<html>", NOT_THE_API),
    },
)
async def test_an_error_of_any_form_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes, sentence: str
) -> None:
    """The API's own, or that the address is another service."""
    assert await _listed(tmp_path, capsys, "400 Bad Request", answer) == f"{sentence}\n"


async def _listed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: str,
    answer: bytes,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Return the error of `destinations list` when the address answers so."""
    (tmp_path / "key").write_text("ack_1")
    async with listening(says(content_of(answer, status)), tls) as api:
        words = ["destinations", "list", "--api", api.url, "--key-file", str(tmp_path / "key")]
        assert await asyncio.to_thread(cli.main, words) == 1
    out, errors = capsys.readouterr()
    assert out == ""
    return errors


async def test_a_person_is_erased_without_an_argument(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value comes from standard input and is printed nowhere."""
    monkeypatch.setattr("sys.stdin", io.StringIO("ada@example.com\n"))
    code, out, errors = await command("erase", "email", "--json")
    assert code == 0
    assert json.loads(out)["id"]
    assert "ada@" not in out + errors


@pytest.mark.parametrize(("field", "value"), [("phone", "none"), ("maid", "00000000-0000"), ("email", "##")])
async def test_an_identifier_without_a_match_key_is_refused(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch, field: str, value: str
) -> None:
    """No receipt says that the erasure of nothing is finished; a search refuses the same."""
    monkeypatch.setattr("sys.stdin", io.StringIO(value))
    code, out, errors = await command("erase", field)
    assert (code, out) == (1, "")
    assert "invalid" in errors
    assert field in errors
    assert value not in errors
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.port}") as client:  # type: ignore[attr-defined]
        for route in ("find", "erase"):
            refused = await client.post(
                f"/subjects/{route}", json={field: value}, headers={"Authorization": f"Bearer {ADMIN}"}
            )
            assert (refused.status_code, refused.json()["fields"]) == (
                422,
                [{"field": field, "problem": "invalid"}],
            )


@pytest.mark.process
async def test_the_tail_follows_until_it_is_interrupted(world: World, tmp_path: Path) -> None:
    """Accepted and rejected events of all destinations, one object a line; Ctrl-C ends it without a trace."""
    first, second = await world.destination(), await world.destination()
    key_file = tmp_path / "tail-key"
    key_file.write_text(ADMIN)
    place = ("--api", f"http://127.0.0.1:{world.port}", "--key-file", str(key_file))  # type: ignore[attr-defined]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "events", "tail", "--json", *place,
        env={**os.environ, "DATA_DIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        found = {}
        await world.post(first, event(1))
        while len(found) < 3:
            item = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
            found[item["event_id"]] = (item["destination_id"], item["status"])
            if "ord-2" not in found:
                bad = {"event_id": "no-1", "user": {"email": "ada@example.com"}}
                await world.post(second, event(2), bad)
        assert found == {
            "ord-1": (first, "queued"), "ord-2": (second, "queued"), "no-1": (second, "rejected"),
        }  # fmt: skip
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, errors) == (130, b"")


def test_the_help_of_a_list_names_the_order_of_its_route() -> None:
    """A list shows 50 items at first: which ones, the help must say as the API does."""
    described = api_description("http://localhost:8000")["paths"]
    compared = 0
    for words, actions in COMMANDS.items():
        for action in actions.values():
            order = re.search(r"(newest|oldest) first", action.help)
            if order is not None:
                compared += 1
                assert order[0] in described[action.path]["get"]["description"], (words, action.help)
    assert compared == 6


def test_a_tail_repeats_nothing_and_loses_nothing() -> None:
    """An event is printed once in each status; one that is committed late is printed, too."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    window = TailWindow(now)

    def item(name: str, status: str = "queued", second: int = 0) -> dict[str, Any]:
        at = (now + timedelta(seconds=second)).isoformat()
        return {
            "destination_id": "d", "mapping_id": "m", "event_id": name, "status": status, "received_at": at,
        }  # fmt: skip

    def printed(at: int, *items: dict[str, Any]) -> list[tuple[str, str]]:
        news = window.news(items, now + timedelta(seconds=at))
        return [(each["event_id"], each["status"]) for each in news]

    assert window.since == now - timedelta(seconds=60)
    assert printed(0, item("b", second=2), item("a", second=1)) == [("a", "queued"), ("b", "queued")]
    assert window.since == now - timedelta(seconds=10)
    late = item("late", second=-1)
    assert printed(2, item("b", "delivered", 2), item("a", second=1), late) == [
        ("late", "queued"), ("b", "delivered"),
    ]  # fmt: skip
    assert printed(4, item("b", "delivered", 2), item("a", second=1), late) == []
    assert window.since == now - timedelta(seconds=6)


def test_a_tail_begins_with_the_newest_events_of_a_busy_minute() -> None:
    """It prints at once, and the next poll does not print the older events later."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    window = TailWindow(now)
    assert window.limit == FIRST_EVENTS
    moments = [now - timedelta(milliseconds=place) for place in range(FIRST_EVENTS)]
    newest = [
        {
            "destination_id": "d", "mapping_id": "m", "event_id": str(at), "status": "queued",
            "received_at": at.isoformat(),
        }
        for at in moments
    ]  # fmt: skip
    assert len(window.news(newest, now)) == FIRST_EVENTS
    assert (window.since, window.limit) == (moments[-1], None)


class LossyApi:
    """An API that answers, is lost for two polls, and answers again with one event more."""

    def __init__(self, now: datetime) -> None:
        self.now, self.asked = now, list[str]()
        self.polls = iter([["a"], None, None, ["a", "b"]])

    def server_time(self) -> datetime:
        return self.now

    def items(self, path: str, query: dict[str, Any], *, limit: int | None) -> list[dict[str, Any]]:
        self.asked.append(query["since"])
        names = next(self.polls, None)
        if names is None:
            raise ApiUnreachable("The API does not respond: ConnectError.")
        fixed = dict.fromkeys(TAIL_COLUMNS) | {"destination_id": "d", "mapping_id": "m", "status": "queued"}
        return [{**fixed, "event_id": name, "received_at": self.now.isoformat()} for name in names]


def test_a_lost_connection_is_reported_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported once, polls continue where they stopped, and the reconnect is reported too."""
    api, naps = LossyApi(datetime(2026, 11, 25, 12, tzinfo=UTC)), list[float]()

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tail_events(api, argparse.Namespace(json=True, **dict.fromkeys(TAIL_FILTERS)), sleep)  # type: ignore[arg-type]
    out, errors = capsys.readouterr()
    assert [json.loads(line)["event_id"] for line in out.splitlines()] == ["a", "b"]
    assert errors == "The API does not respond: ConnectError. Trying again…\nConnected again.\n"
    assert api.asked[1] == api.asked[2] == api.asked[3]


async def test_rejections_are_listed_and_counted(world: World, command: Command) -> None:
    """The counts take no filter but the time, and say so."""
    destination = await world.destination({"event_id": "no-1", "user": {"email": "ada@example.com"}})
    code, out, _ = await command("rejections", destination, "--event-id", "no-1")
    assert (code, "timestamp_missing" in out) == (0, True)
    code, out, errors = await command("rejections", destination, "--summary", "--reason", "no_match_key")
    assert (code, out, errors.count("\n")) == (2, "", 1)
    code, out, _ = await command("events", "list", destination, "--journey-id", "none", "--json")
    assert (code, json.loads(out)) == (0, {"items": []})
