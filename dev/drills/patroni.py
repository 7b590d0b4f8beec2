"""A Postgres cluster of three nodes under Patroni, each in a network namespace, with the files of deploy/patroni.

Each node runs etcd, Patroni and Postgres. The nodes are joined by a bridge that leads nowhere else, so that a node
can be unplugged. The data of a node are on a file system of their own that can be filled.
"""

import json
import os
import re
import secrets
import shutil
import signal
import string
import subprocess
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from app.settings import ROOT
from dev.drills.stage import DrillFailed, chosen_postgres, last_line

SHIPPED: Final = ROOT / "deploy" / "patroni"
PROGRAMS: Final = ("patroni", "etcd", "haproxy", "ip", "setpriv")
AGENTS: Final = {  # what runs on each node; Patroni starts Postgres
    "etcd": ["etcd", "--log-level=error"],
    "patroni": ["patroni", str(SHIPPED / "patroni.yml")],
    "yield-full-disk": [str(SHIPPED / "yield-full-disk")],
}
# Debian's packages. Its patroni can be installed without python3-etcd, and then does not start.
PACKAGES: Final = ("patroni", "python3-etcd", "etcd-server", "postgresql", "haproxy")
NODES: Final = ("node1", "node2", "node3")
NETWORK: Final = "10.213.77"
ADDRESSES: Final = {node: f"{NETWORK}.{number + 11}" for number, node in enumerate(NODES)}
PROXY: Final = f"{NETWORK}.1:5000"
BRIDGE: Final = "ha-drill"
DISK: Final = "2g"
DATABASE: Final = "conversions"
SETTLED_S: Final = 120.0
_CONNECTED: Final = re.compile(r"^etcd_network_active_peers\{.*\} [1-9]", re.MULTILINE)


def missing() -> list[str]:
    """Return what this machine lacks for the drill."""
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    return programs if os.geteuid() == 0 else ["root", *programs]


def node_environment(template: str, values: Mapping[str, str]) -> dict[str, str]:
    """Fill in node.env. Raises KeyError for a placeholder without a value."""
    lines = (line for line in template.splitlines() if line and not line.startswith("#"))
    return dict(string.Template(line).substitute(values).split("=", 1) for line in lines)


def is_settled(cluster: Mapping[str, Any], *, synchronous: bool = True) -> bool:
    """Return whether one member leads and both others follow it without lag, by Patroni's GET /cluster.

    With `synchronous`, both must already be among those that may take over, as etcd has them.
    """
    standby = "quorum_standby" if synchronous else "replica"
    members = cluster.get("members", [])
    leaders = [member for member in members if member["role"] == "leader" and member["state"] == "running"]
    following = [
        member
        for member in members
        if member["role"] == standby and member["state"] == "streaming" and member.get("lag") == 0
    ]
    timelines = {member.get("timeline") for member in members}
    return len(leaders) == 1 and len(following) == len(NODES) - 1 and len(timelines) == 1


@dataclass
class PatroniCluster:
    """The cluster. `behind_proxy` puts HAProxy before it, whose address `url` then names."""

    folder: Path
    behind_proxy: bool = False
    synchronous: bool = True
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Return what distinguishes this cluster in a report."""
        proxy = "behind HAProxy: " if self.behind_proxy else ""
        return proxy + ("" if self.synchronous else "control without synchronous mode: ")

    @property
    def url(self) -> str:
        """Return the URL of the owner: it names all servers, or the proxy."""
        servers = PROXY if self.behind_proxy else ",".join(f"{a}:5432" for a in ADDRESSES.values())
        query = "" if self.behind_proxy else "?target_session_attrs=read-write"
        return f"postgresql+asyncpg://{DATABASE}:{self.password}@{servers}/{DATABASE}{query}"

    def server_url(self, node: str) -> str:
        """Return the URL of the superuser's database on one server."""
        return f"postgresql://postgres:{self.password}@{ADDRESSES[node]}:5432/postgres"

    def start(self) -> None:
        """Create the nodes and wait until Patroni has formed the cluster and the database exists."""
        self._ip("link", "add", BRIDGE, "type", "bridge")
        self._ip("address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        self._ip("link", "set", BRIDGE, "up")
        for node, address in ADDRESSES.items():
            self._ip("netns", "add", node)
            self._ip("link", "add", f"{node}-up", "type", "veth", "peer", "eth0", "netns", node)
            self._ip("link", "set", f"{node}-up", "master", BRIDGE, "up")
            for words in (
                ["address", "add", f"{address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                self._ip("-n", node, *words)
            disk = self.folder / node
            for place in (disk, self.folder / f"{node}-etcd"):
                place.mkdir()
                shutil.chown(place, "postgres")
            options = f"size={DISK},mode=755,uid=postgres,gid=postgres"
            self._call(*f"mount -t tmpfs -o {options} tmpfs".split(), str(disk))
            self.run(node)
        self.settle(synchronous=True)
        if not self.synchronous:
            self.ask(NODES[0], "PATCH", "/config", {"synchronous_mode": False})
            self.settle()
        self.execute(f"CREATE ROLE {DATABASE} LOGIN CREATEROLE REPLICATION PASSWORD '{self.password}'")
        # On Postgres 15, only a superuser creates the role of backups.
        self.execute(
            "DO $$ BEGIN IF current_setting('server_version_num')::int < 160000 THEN "
            f"ALTER ROLE {DATABASE} SUPERUSER; END IF; END $$"
        )
        self.execute(f"CREATE DATABASE {DATABASE} OWNER {DATABASE}")
        if self.behind_proxy:
            values = self._values("proxy") | {"LISTEN": PROXY}
            self._spawn([], ["haproxy", "-db", "-f", str(SHIPPED / "haproxy.cfg")], values, "haproxy")
            time.sleep(2)

    def run(self, node: str) -> None:
        """Start what does not run on a node: etcd, Patroni, which starts Postgres, and the watch on its disk."""
        environment = node_environment((SHIPPED / "node.env").read_text(), self._values(node))
        if chosen := chosen_postgres():
            environment["PATRONI_POSTGRESQL_BIN_DIR"] = str(chosen)
        environment["YIELD_EVERY_S"] = "20"  # a drill fills the same disk again in the next round but one
        account = "setpriv --reuid=postgres --regid=postgres --clear-groups --"
        inside = f"ip netns exec {node} {account}".split()
        running = set(self.processes(node).values())
        for agent, words in AGENTS.items():
            if agent not in running:
                self._spawn(inside, words, environment, f"{node}-{agent}")

    def stop(self) -> None:
        """End all processes of the nodes, and remove the nodes."""
        for node in NODES:
            with suppress(DrillFailed):
                self.signal(node, signal.SIGKILL)
        for child in self.children:
            child.kill()
            child.wait()
        for node in NODES:
            for words in (["ip", "netns", "delete", node], ["ip", "link", "delete", f"{node}-up"]):
                subprocess.run(words, capture_output=True, check=False)
            subprocess.run(["umount", "-l", str(self.folder / node)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)

    def processes(self, node: str) -> dict[int, str]:
        """Return the processes of a node with their programs' names."""
        found = {}
        for pid in map(int, self._ip("netns", "pids", node).split()):
            with suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found

    def signal(self, node: str, how: signal.Signals, *, program: str = "", title: str = "") -> None:
        """Send a signal to all processes of a node, or only to those of a program or with a title."""
        signalled: set[int] = set()
        # Until the postmaster has the signal, it may start processes that the list lacks.
        while found := {pid: name for pid, name in self.processes(node).items() if pid not in signalled}:
            signalled |= found.keys()
            for pid, name in found.items():
                with suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    if name.startswith(program) and title in command:
                        os.kill(pid, how)

    def plug(self, node: str, *, connected: bool) -> None:
        """Connect a node to the bridge, or take it off: then its packets are dropped without an answer."""
        self._ip("link", "set", f"{node}-up", *(["master", BRIDGE] if connected else ["nomaster"]))

    def fill(self, node: str) -> None:
        """Fill the disk of a node to the last byte."""
        with (self.folder / node / "filler").open("wb") as filler, suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()

    def empty(self, node: str) -> None:
        """Remove what `fill` wrote."""
        (self.folder / node / "filler").unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """Return what the first agent that answers says about the cluster; nothing if none answers."""
        for address in ADDRESSES.values():
            with suppress(httpx.HTTPError):
                return dict(httpx.get(f"http://{address}:8008/cluster", timeout=1).json())
        return {}

    def leader(self) -> str:
        """Return the node of the primary."""
        return next(str(member["name"]) for member in self.status()["members"] if member["role"] == "leader")

    def follows(self, node: str) -> bool:
        """Return whether a node leads or is in step with the node that leads."""
        members = self.status().get("members", [])
        return any(
            member["name"] == node and member["state"] in {"running", "streaming"} for member in members
        )

    def etcd_leader(self) -> str:
        """Return the node whose etcd leads."""
        for node, address in ADDRESSES.items():
            with suppress(httpx.HTTPError):
                state = httpx.post(f"http://{address}:2379/v3/maintenance/status", json={}, timeout=2).json()
                if state["leader"] == state["header"]["member_id"]:
                    return node
        raise DrillFailed("No etcd leads.")

    def has_whole_etcd(self) -> bool:
        """Return whether the etcd of every node can read through the leader, and is connected to both others.

        A node whose network was cut is back in etcd up to half a minute later. Its Patroni works before.
        """
        try:
            for address in ADDRESSES.values():
                health = httpx.get(f"http://{address}:2379/health", timeout=2)
                metrics = httpx.get(f"http://{address}:2379/metrics", timeout=2).text
                if health.status_code != httpx.codes.OK or len(_CONNECTED.findall(metrics)) != len(NODES) - 1:
                    return False
        except httpx.HTTPError:
            return False
        return True

    def ask(self, node: str, method: str, path: str, body: Mapping[str, Any]) -> None:
        """Send a request to the agent of a node, as patronictl does."""
        httpx.request(
            method, f"http://{ADDRESSES[node]}:8008{path}", json=body, timeout=60
        ).raise_for_status()

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser on the primary."""
        done = subprocess.run(
            ["psql", self.server_url(self.leader()), "-qAtc", statement], capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode:
            raise DrillFailed(f"psql failed: {done.stderr.strip()}")

    def settle(self, *, synchronous: bool | None = None) -> None:
        """Wait until all nodes are in the cluster and in etcd, and may take over."""
        wanted = self.synchronous if synchronous is None else synchronous
        until = time.monotonic() + SETTLED_S
        while not (is_settled(self.status(), synchronous=wanted) and self.has_whole_etcd()):
            if time.monotonic() > until:
                ended = self.not_running({node: set(self.processes(node).values()) for node in NODES})
                raise DrillFailed(ended or f"The cluster did not settle: {json.dumps(self.status())}")
            time.sleep(0.5)

    def not_running(self, running: Mapping[str, Set[str]]) -> str:
        """Return a sentence that names each agent that is not among the programs of its node."""
        return "; ".join(
            f"{node}-{agent} does not run: {last_line(self.folder / f'{node}-{agent}.log')}"
            for node, programs in running.items()
            for agent in AGENTS
            if agent not in programs
        )

    def _values(self, node: str) -> dict[str, str]:
        return {
            "NAME": node,
            "ADDRESS": ADDRESSES.get(node, ""),
            **{f"ADDRESS_{number + 1}": address for number, address in enumerate(ADDRESSES.values())},
            "ETCD_FOLDER": str(self.folder / f"{node}-etcd"),
            "DATA_FOLDER": str(self.folder / node / "data"),
            "SUPERUSER_PASSWORD": self.password,
            "REPLICATION_PASSWORD": self.password,
        }

    def _spawn(self, inside: list[str], words: list[str], environment: Mapping[str, str], name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children.append(
                subprocess.Popen(
                    [*inside, *words],
                    env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _ip(self, *words: str) -> str:
        return self._call("ip", *words)

    def _call(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DrillFailed(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout
