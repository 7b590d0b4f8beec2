"""`--organisation` of `keys`, `plan`, `apply`, `export` and `replay`: one organisation and no other."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from app import cli
from tests.config_as_code.files import acme, file


@pytest.fixture
def run(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    """Run a command on the test's database; return exit code, output and errors."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    async def command(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(cli.main, list(words))
        return code, *capsys.readouterr()

    return command


async def test_commands_act_for_the_organisation_in_the_option(
    run: object, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """What they create in one, the others do not see."""
    assert callable(run)
    await owner.execute("INSERT INTO organisations (id, name) VALUES ('acme', 'Acme')")
    configuration, acting = tmp_path / "file.yaml", ("--organisation", "acme")
    configuration.write_text(file(acme()))
    assert (await run("keys", "create", "of acme", "replay", *acting))[0] == 0
    assert (await run("apply", str(configuration), *acting))[0] == 0
    for words, part in ((("keys", "list"), "of acme"), (("export",), "advertiser_id")):
        assert part in (await run(*words, *acting))[1]
        assert part not in (await run(*words))[1]
    assert (await run("plan", str(configuration), *acting))[0] == 0
    assert (await run("plan", str(configuration)))[0] == 2
    _, exported, _ = await run("export", *acting)
    destination = next(word for word in exported.split() if word.startswith("dst_"))
    assert (await run("replay", destination, "--dry-run", *acting))[0] == 0
    code, _, errors = await run("replay", destination, "--dry-run")
    assert (code, "does not exist" in errors) == (1, True)


@pytest.mark.parametrize("organisation", ["nowhere", "*", ""])
async def test_an_unknown_organisation_is_refused(run: object, organisation: str) -> None:
    """Also the name with which the service acts for all of them."""
    assert callable(run)
    for words in (("keys", "list"), ("export",), ("replay", "dst_1")):
        code, out, errors = await run(*words, "--organisation", organisation)
        assert (code, out, "does not exist. Nothing was changed." in errors) == (1, "", True), words
