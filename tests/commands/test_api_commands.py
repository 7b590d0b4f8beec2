"""The commands that speak the API, against a running one."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app import cli
from app.processes.api import build_application
from app.processes.resources import open_resources
from tests.api.test_ways_in import served
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.world import World, event, settings_of

ADMIN = "bootstrap-key-of-thirty-two-letters"
Outcome = tuple[int, str, str]
Command = Callable[..., Coroutine[Any, Any, Outcome]]


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A service with its API on a port; `world.port` is its."""
    settings = settings_of(database_url, bootstrap_admin_key=ADMIN)
    async with (
        open_resources(settings, role="worker", pool_size=10) as resources,
        build_application(resources) as application,
        served(application) as port,
    ):
        made = World(resources, FakeAmazon(), application.state.context.intake, database_url)
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
        code = await asyncio.to_thread(cli.main, [*words, *place])
        return code, *capsys.readouterr()

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


async def test_events_are_listed_and_their_history_is_shown(world: World, command: Command) -> None:
    """An id with a slash is one part of the path."""
    destination = await world.destination()
    await world.post(destination, {**event(1), "event_id": "a/1"}, event(2))
    code, out, _ = await command("events", "list", destination, "--status", "queued", "--json")
    assert (code, len(json.loads(out)["items"])) == (0, 2)
    code, out, _ = await command("events", "show", destination, "a/1")
    assert code == 0
    assert "queued" in out
    code, out, _ = await command("stats", destination)
    assert code == 0
    assert "counts.accepted" in out


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


async def test_what_goes_wrong_is_one_sentence(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown destination, no API, no key file."""
    code, _, errors = await command("destinations", "show", "dst_0000000000000000")
    assert (code, errors.count("\n")) == (1, 1)
    key = tmp_path / "key"
    for words, part in (
        (("--api", "http://127.0.0.1:1", "--key-file", str(key)), "does not answer"),
        (("--key-file", str(tmp_path / "none")), "cannot be read"),
    ):
        code = await asyncio.to_thread(cli.main, ["destinations", "list", *words])
        assert (code, part in capsys.readouterr().err) == (1, True)


async def test_a_person_is_erased_without_an_argument(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value comes from standard input and is printed nowhere."""
    monkeypatch.setattr("sys.stdin", io.StringIO("ada@example.com\n"))
    code, out, errors = await command("erase", "email", "--json")
    assert code == 0
    assert json.loads(out)["id"]
    assert "ada" not in out + errors
