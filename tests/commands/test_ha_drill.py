"""The drill for high availability: how it judges rounds, and what it reads of the shipped files."""

import os
import re
import shutil
import signal
import string
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.drills.ha_report import Gap, Round, gaps, table
from dev.drills.patroni import ADDRESSES, NODES, SHIPPED, is_settled, node_environment

GOOD = Round("fault", [Gap(10, 32)], [Gap(10, 30)], 1000, 0, 0, 20, is_manual=False, limit_s=27)


def test_a_round_that_meets_every_target_has_no_problem() -> None:
    assert GOOD.problems() == []
    assert (GOOD.without_202_s, GOOD.without_writes_s, GOOD.lag_s) == (22, 20, 2)


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


def test_the_control_may_lose() -> None:
    assert replace(GOOD, lost=9, may_lose=True).problems() == []


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


def test_the_table_has_a_row_for_each_round() -> None:
    assert (
        table([GOOD, GOOD]).splitlines()[2:] == ["| fault | 22.0 | 20.0 | 2.0 | 1,000 | 0 | 0 | 20 | 0 |"] * 2
    )


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
    template = (SHIPPED / "node.env").read_text()
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
    settings = yaml.safe_load((SHIPPED / "patroni.yml").read_text())["bootstrap"]["dcs"]
    assert settings["synchronous_mode"] == "quorum"
    assert settings["loop_wait"] + 2 * settings["retry_timeout"] <= settings["ttl"] == 20
    assert settings["failsafe_mode"] is True
    assert settings["primary_stop_timeout"] > 0  # a primary that is cut off would otherwise never stop


def test_a_standby_does_not_ask_a_lost_primary_before_it_takes_over() -> None:
    """It would as soon as its WAL receiver has ended, and wait for the answer in each loop of Patroni."""
    settings = yaml.safe_load((SHIPPED / "patroni.yml").read_text())["bootstrap"]["dcs"]
    timeout_s = int(settings["postgresql"]["parameters"]["wal_receiver_timeout"].removesuffix("s"))
    assert timeout_s > settings["ttl"] + settings["loop_wait"] + settings["retry_timeout"]


def test_haproxy_leads_to_every_server_and_ends_sessions_of_a_lost_one() -> None:
    text = (SHIPPED / "haproxy.cfg").read_text()
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
        [program, "-c", "-f", str(SHIPPED / "haproxy.cfg")], env=values, capture_output=True, check=False
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
    child = subprocess.Popen([str(SHIPPED / "yield-full-disk")], env=environment, start_new_session=True)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(5)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    words = asked.read_text().splitlines() if asked.exists() else []
    assert words == [f"-c {SHIPPED}/patroni.yml switchover --leader node2 --force"] * yields
