"""`drill`: refused in production; the long form runs each drill for some seconds and loses nothing."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import asyncpg
import pytest
import yaml

from app import cli
from app.setting_types import DatabaseRole
from app.settings import Settings
from dev.drills import api_proxy, gameday, patroni
from dev.drills.command import NAMES
from dev.drills.faults import FaultInjector
from dev.drills.monitoring import PROGRAMS, SHIPPED
from dev.drills.shortened_rules import shorten
from dev.drills.stage import with_roles, with_servers
from dev.environment import with_url
from tests.commands.test_settings import GOOD_PRODUCTION

ROOT = Path(__file__).resolve().parents[2]


def test_a_drill_does_not_run_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It destroys what it works on."""
    for name, value in GOOD_PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["drill", "restore"]) == 2
    assert "do not run in production" in capsys.readouterr().err


def test_a_release_runs_every_drill() -> None:
    """The long form below runs only where somebody asks for it."""
    steps = (ROOT / "docs" / "releasing.md").read_text()
    assert [name for name in NAMES if f"./run drill {name}" not in steps] == []


def test_a_command_without_database_gets_no_url() -> None:
    """`restore` refuses to run beside a server that any of the URLs names."""
    named = with_url(Settings.model_construct(), "postgresql+asyncpg://u:p@h/d")
    bare = with_url(named, None)
    urls = [name for name in Settings.model_fields if name.endswith("database_url")]
    assert {getattr(named, name).get_secret_value() for name in urls} == {"postgresql+asyncpg://u:p@h/d"}
    assert {getattr(bare, name) for name in urls} == {None}


def test_a_drill_connects_with_the_recommended_roles() -> None:
    """As the documents recommend; the servers of a failover are named in each URL."""
    settings = with_servers(with_roles(Settings.model_construct(), "postgresql://o:p@one:1/d"), "one:1,two:2")
    roles = {settings.database_for(role).partition("@")[0].split(":")[1] for role in get_args(DatabaseRole)}
    assert len(roles) == 4
    for role in get_args(DatabaseRole):
        assert settings.database_for(role).endswith("@one:1,two:2/d?target_session_attrs=read-write")


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_the_rules_of_a_game_day_are_the_shipped_ones_with_shorter_durations(name: str) -> None:
    """A new window needs a row in the table; everything else is as shipped."""
    shipped = yaml.safe_load((SHIPPED / name).read_text())
    shortened = shorten(shipped)
    for before, after in zip(shipped["groups"][0]["rules"], shortened["groups"][0]["rules"], strict=True):
        assert {**before, "expr": 0, "for": 0} == {**after, "expr": 0, "for": 0}
        assert not re.search(r"\[\d+[mhd]\]|86400", after["expr"])
        assert after.get("for", "0s").endswith("s")
        assert _without_durations(before["expr"]) == _without_durations(after["expr"])


def _without_durations(query: str) -> str:
    return re.sub(r"\[\w+\]|[\d *]+", "", query)


def test_a_game_day_has_a_fault_for_every_alert() -> None:
    """An alert without a fault is held by promtool's tests alone; today there is none."""
    faults = FaultInjector(cast(Any, None), cast(Any, None), {})
    everything = [*faults.independent(), *faults.of_amazon(), faults.of_commits(), *faults.of_processes()]
    assert sorted(name for fault in everything for name in fault.alerts) == sorted(gameday.ALERTS)


@pytest.mark.parametrize("alert", ["BackupTooOld", "ErasureOverdue", "IncidentsNotComputed"])
def test_the_schema_accepts_a_fault_that_changes_rows(database_url: str, alert: str) -> None:
    """The game day runs only before a release; a new constraint must not surprise it there."""

    async def run(statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    stage = SimpleNamespace(execute=lambda *words: asyncio.run(run(*words)))
    faults = FaultInjector(cast(Any, stage), cast(Any, None), {})
    (fault,) = (each for each in [*faults.independent(), *faults.of_processes()] if alert in each.alerts)
    fault.inject()
    fault.repair()


def test_the_proxy_of_an_upgrade_is_the_shipped_one() -> None:
    """Only the listener and the addresses of the two processes differ."""
    shipped = api_proxy.SHIPPED.read_text()
    changed = {
        (before.split()[0], after)
        for before, after in zip(
            shipped.splitlines(), api_proxy.configuration(shipped, 7, (8001, 8002)).splitlines(), strict=True
        )
        if before != after
    }
    assert changed == {
        ("bind", "  bind fd@7"),
        ("server", "  server a 127.0.0.1:8001"),
        ("server", "  server b 127.0.0.1:8002"),
    }


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_drill_loses_no_event(name: str) -> None:
    """Real processes, a real Postgres, and for the game day a real Prometheus and Alertmanager."""
    if name == "gameday" and any(shutil.which(program) is None for program in PROGRAMS):
        pytest.skip("prometheus and prometheus-alertmanager are not installed")
    if name == "ha" and (lacking := patroni.missing()):
        pytest.skip(f"{', '.join(lacking)} are missing")
    if name == "upgrade" and shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("haproxy is not installed")
    fault = ("--fault", "primary node frozen") if name == "ha" else ()
    done = subprocess.run(
        [sys.executable, "-m", "app", "drill", name, "--seconds", "10", *fault],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lost events: 0" in done.stdout
