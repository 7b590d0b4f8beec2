"""Drills: refused in production, made of the shipped files, judged by targets; the long form runs each."""

import argparse
import asyncio
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import asyncpg
import pytest
import yaml

from app import cli
from app.incidents.monitor import LEASE
from app.setting_types import DatabaseRole
from app.settings import Settings
from app.store.database.backups import SLOT
from app.store.database.job_leases import Job, acquire
from dev.drills import api_proxy, command, gameday, patroni, restore
from dev.drills.command import NAMES
from dev.drills.faults import FaultCase, FaultInjector
from dev.drills.ha_report import Gap, Round, gaps
from dev.drills.monitoring import PROGRAMS, SHIPPED
from dev.drills.patroni import ADDRESSES, NODES, is_settled, node_environment
from dev.drills.shortened_rules import shorten
from dev.drills.stage import DrillFailed, Stage, with_roles, with_servers
from dev.drills.write_probe import CREATE, TABLE, WRITE
from dev.environment import with_url
from dev.postgres.postmaster import free_port
from tests.commands.test_settings import GOOD_PRODUCTION
from tests.databases import connected
from tests.waiting import wait_until

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


def test_the_logs_of_a_drill_outlive_it_only_if_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder is removed in any case; without the logs, a failure would have no cause."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked = argparse.Namespace(report=None)

    def write(folder: Path) -> None:
        (folder / "node").mkdir()
        (folder / "node" / "api-1.log").write_text("the cause\n")
        (folder / "node" / "data").write_text("large")

    def stop(folder: Path, _: argparse.Namespace) -> tuple[str, bool]:
        write(folder)
        raise DrillFailed("It cannot continue.")

    def end(folder: Path, asked: argparse.Namespace) -> tuple[str, bool]:
        write(folder)
        return "the report\n", asked.passed

    assert command.rehearse(stop, asked) == 1
    assert command.rehearse(end, argparse.Namespace(report=None, passed=False)) == 1
    named = re.findall(r"The logs are in (\S+)\.\n", capsys.readouterr().err)
    assert [(Path(each) / "node" / "api-1.log").read_text() for each in named] == ["the cause\n"] * 2
    assert not [*tmp_path.rglob("data")]
    assert command.rehearse(end, argparse.Namespace(report=None, passed=True)) == 0
    assert (capsys.readouterr().err, len([*tmp_path.iterdir()])) == ("", 2)


@pytest.mark.process
def test_a_drill_names_the_process_that_ended(tmp_path: Path) -> None:
    """It does not wait until a time-out for an answer that cannot come."""
    stage = Stage(tmp_path)
    stage.settings = Settings.model_construct(port=free_port(), sandbox_port=free_port())
    (tmp_path / "api-1.log").write_text("first\nno such setting\n")
    stage.children["api-1"] = subprocess.Popen([sys.executable, "-c", "exit(3)"])
    with pytest.raises(DrillFailed, match="api-1 ended with code 3: no such setting"):
        stage.wait_ready()


@pytest.mark.process
def test_a_drill_says_why_its_backup_ended(tmp_path: Path) -> None:
    """Its messages are in a log: in a drill that passes, a lost server is no error of the backup."""
    stage = Stage(tmp_path)
    stage.settings = Settings.model_construct(log_level="unknown")
    with pytest.raises(DrillFailed, match=r"backup --follow ended .*: .*LOG_LEVEL"):
        restore._follow(stage, tmp_path / "saved")


def test_the_documents_name_the_packages_of_high_availability() -> None:
    """Debian's patroni does not depend on its client of etcd (python3-etcd)."""
    for page in ("CONTRIBUTING.md", "docs/high-availability.md"):
        words = set(re.findall(r"[\w-]+", (ROOT / page).read_text()))
        assert not set(patroni.PACKAGES) - words, page


def test_a_cluster_that_does_not_settle_names_what_does_not_run(tmp_path: Path) -> None:
    cluster = patroni.PatroniCluster(tmp_path)
    (tmp_path / "node2-patroni.log").write_text("INFO: start\nAvailable implementations: consul\n")
    running = {node: {"etcd", "patroni", "yield-full-disk"} for node in NODES}
    running["node2"].remove("patroni")
    assert cluster.not_running(running) == "node2-patroni does not run: Available implementations: consul"
    running["node2"].add("patroni")
    assert cluster.not_running(running) == ""


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


def execute(database_url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run a statement as a stage does."""

    async def run() -> list[asyncpg.Record]:
        async with connected(database_url) as connection:
            return list(await connection.fetch(statement, *values))

    return asyncio.run(run())


def fault_of(alert: str, database_url: str) -> FaultCase:
    """Return the fault of a game day that raises an alert, on a database without a service."""
    stage = SimpleNamespace(execute=partial(execute, database_url))
    faults = FaultInjector(cast(Any, stage), cast(Any, None), {})
    (fault,) = (each for each in [*faults.independent(), *faults.of_processes()] if alert in each.alerts)
    return fault


@pytest.mark.parametrize("alert", ["BackupTooOld", "ErasureOverdue", "IncidentsNotComputed"])
def test_the_schema_accepts_a_fault_that_changes_rows(database_url: str, alert: str) -> None:
    """The game day runs only before a release; a new constraint must not surprise it there."""
    fault = fault_of(alert, database_url)
    fault.inject()
    fault.repair()


def test_no_process_gets_the_lease_of_the_monitor_during_its_fault(database_url: str) -> None:
    """The lease is as long as one of the service, which would take over a longer one, and is renewed."""

    async def acquired() -> bool:
        async with connected(database_url) as connection:
            return await acquire(connection, Job.INCIDENTS, "api-1", lease=LEASE)

    assert asyncio.run(acquired())
    fault = fault_of("IncidentsNotComputed", database_url)

    def leased_until() -> datetime:
        [row] = execute(database_url, "SELECT leased_until FROM job_leases")
        return row["leased_until"]

    fault.inject()
    assert not asyncio.run(acquired())
    first = leased_until()
    wait_until(lambda: leased_until() != first)
    fault.repair()
    assert asyncio.run(acquired())


async def test_the_probe_of_high_availability_fills_a_page(owner: asyncpg.Connection) -> None:
    """On every supported Postgres: 15 knows no STORAGE in CREATE TABLE."""
    await owner.execute(CREATE)
    for _ in range(3):
        await owner.execute(WRITE)
    assert await owner.fetchval(f"SELECT pg_total_relation_size('{TABLE}')") >= 3 * 8192


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


GOOD = Round("fault", [Gap(10, 32)], [Gap(10, 30)], 1000, 0, 0, 20, is_manual=False, limit_s=27)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lost": 1}, "1 acknowledged events were lost"),
        ({"other_bytes": 2}, "2 events were repeated with other bytes"),
        ({"is_manual": True}, "an operator had to repair"),
        ({"posts": [Gap(10, 33.1)]}, "202 came 3.1 s after"),
        ({"limit_s": 21}, "22.0 s without a 202 are more than 21"),
        ({"may_lose": True}, "the control lost nothing"),
        ({"accepted": 0}, "no event was accepted"),
    ],
)
def test_each_missed_target_is_named(changes: dict[str, Any], words: str) -> None:
    [problem] = replace(GOOD, **changes).problems()
    assert problem.startswith("fault: ")
    assert words in problem


@pytest.mark.parametrize(
    ("posts", "writes", "lag"),
    [
        ([], [], 0),
        ([Gap(10, 15)], [], 5),  # the servers always accepted writes: the whole gap is the service's
        ([Gap(10, 31)], [Gap(10.5, 30)], 1),
        ([Gap(10, 40)], [Gap(10, 20), Gap(25, 38)], 2),  # the service had no chance before the last one
        ([Gap(10, 12), Gap(50, 56)], [Gap(10, 11), Gap(50, 52)], 4),  # the worst counts
        ([Gap(50, 54)], [Gap(10, 20)], 4),  # an earlier gap of the servers excuses nothing
        ([Gap(10, 14)], [Gap(10, 60)], 4),  # nor does one that lasts longer: another server must accept
        ([Gap(10, 33.3)], [Gap(10, 33.4)], 0),  # a post was accepted before a write of the drill
        ([Gap(10, 14)], [Gap(10, 11), Gap(13.5, 14.5)], 3),  # not after the first gap of the servers
    ],
)
def test_the_service_s_part_begins_when_a_server_accepts_writes(
    posts: list[Gap], writes: list[Gap], lag: float
) -> None:
    assert replace(GOOD, posts=posts, writes=writes).lag_s == lag


def test_a_gap_is_a_second_without_success() -> None:
    """Within the round only; the edges count as successes, so that no answer at all is the longest gap."""
    assert gaps([1, 5, 5.9, 8, 20], 4, 10) == [Gap(4, 5), Gap(5.9, 8), Gap(8, 10)]
    assert gaps([], 4, 10) == [Gap(4, 10)]


def member(name: str, role: str, **more: object) -> dict[str, object]:
    return {"name": name, "role": role, "state": "streaming", "timeline": 2, "lag": 0, **more}


LEADER = member("node1", "leader", state="running")
TWO, THREE = member("node2", "quorum_standby"), member("node3", "quorum_standby")


def test_the_cluster_is_settled_when_both_standbys_may_take_over() -> None:
    assert is_settled({"members": [LEADER, TWO, THREE]})
    for bad in (
        [LEADER, TWO],
        [LEADER, TWO, member("node3", "replica")],  # it replicates, and no commit waits for it yet
        [LEADER, TWO, {**THREE, "lag": 1}],
        [LEADER, TWO, {**THREE, "timeline": 1}],
        [{**LEADER, "state": "starting"}, TWO, THREE],
        [],
    ):
        assert not is_settled({"members": bad})
    assert not is_settled({})


def test_node_env_names_the_node_and_all_servers() -> None:
    """A placeholder without a value is an error; every value is used."""
    template = (patroni.SHIPPED / "node.env").read_text()
    names = set(string.Template(template).get_identifiers())
    environment = node_environment(template, {name: f"<{name}>" for name in names})
    assert environment["PATRONI_NAME"] == environment["ETCD_NAME"] == "<NAME>"
    assert environment["PATRONI_POSTGRESQL_CONNECT_ADDRESS"] == "<ADDRESS>:5432"
    for number, node in enumerate(NODES, 1):
        assert f"{node}=http://<ADDRESS_{number}>:2380" in environment["ETCD_INITIAL_CLUSTER"]
        assert f"<ADDRESS_{number}>:2379" in environment["PATRONI_ETCD3_HOSTS"]
    with pytest.raises(KeyError):
        node_environment(template, {})


def test_the_patroni_settings_keep_an_accepted_event() -> None:
    """A commit waits for a standby, and Patroni's own rule for its times holds."""
    settings = yaml.safe_load((patroni.SHIPPED / "patroni.yml").read_text())["bootstrap"]["dcs"]
    assert settings["synchronous_mode"] == "quorum"
    assert settings["loop_wait"] + 2 * settings["retry_timeout"] <= settings["ttl"] == 20
    assert settings["failsafe_mode"] is True
    assert settings["primary_stop_timeout"] > 0  # a primary that is cut off would otherwise never stop
    assert settings["ignore_slots"] == [{"name": SLOT, "type": "physical"}]  # Patroni would drop it


def test_a_standby_does_not_ask_a_lost_primary_before_it_takes_over() -> None:
    """It would as soon as its WAL receiver has ended, and wait for the answer in each loop of Patroni."""
    settings = yaml.safe_load((patroni.SHIPPED / "patroni.yml").read_text())["bootstrap"]["dcs"]
    timeout_s = int(settings["postgresql"]["parameters"]["wal_receiver_timeout"].removesuffix("s"))
    assert timeout_s > settings["ttl"] + settings["loop_wait"] + settings["retry_timeout"]


def test_haproxy_leads_to_every_server_and_ends_sessions_of_a_lost_one() -> None:
    text = (patroni.SHIPPED / "haproxy.cfg").read_text()
    servers = re.findall(r'server (\w+) "\$\{ADDRESS_(\d)\}:5432" check port 8008', text)
    assert servers == [(node, str(number)) for number, node in enumerate(NODES, 1)]
    assert "on-marked-down shutdown-sessions" in text
    assert len(ADDRESSES) == len(NODES)


@pytest.mark.process
def test_haproxy_reads_its_settings() -> None:
    if (program := shutil.which("haproxy")) is None:
        pytest.skip("haproxy is not installed")
    values = {f"ADDRESS_{number}": "127.0.0.1" for number in (1, 2, 3)} | {"LISTEN": "127.0.0.1:5000"}
    done = subprocess.run(
        [program, "-c", "-f", str(patroni.SHIPPED / "haproxy.cfg")],
        env=values,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.process
@pytest.mark.parametrize(("least_free_mb", "yields"), [("999999999", True), ("0", False)])
def test_a_server_yields_when_its_disk_is_nearly_full(
    tmp_path: Path, least_free_mb: str, yields: bool
) -> None:
    """It asks Patroni once to let another server lead, and names itself as the leader to replace."""
    asked = tmp_path / "asked"
    stand_in = tmp_path / "patronictl"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    stand_in.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.defpath}",
        "PATRONI_NAME": "node2",
        "PATRONI_POSTGRESQL_DATA_DIR": str(tmp_path),
        "LEAST_FREE_MB": least_free_mb,
    }
    child = subprocess.Popen(
        [str(patroni.SHIPPED / "yield-full-disk")], env=environment, start_new_session=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(5)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    words = asked.read_text().splitlines() if asked.exists() else []
    assert words == [f"-c {patroni.SHIPPED}/patroni.yml switchover --leader node2 --force"] * yields
