"""`./run`: everything on one machine, in one process group, ended by one Ctrl-C.

Order of starting: Postgres, sandbox, migrations, API, workers, example. Order of ending: workers, API,
sandbox, Postgres — nobody is left asking somebody who is gone. A child that dies is started again; one
that dies five times within a minute ends everything, since a restart would only hide the fault.
"""

import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from types import FrameType
from typing import Protocol

from app.settings import Settings
from dev.banner import welcome
from dev.child_processes import PER_SECONDS, RESTARTS, Children
from dev.environment import as_environment, with_keys, with_sandbox, with_url
from dev.example import Example, ExampleError, ensure_example
from dev.postgres.cluster import Cluster, EmbeddedError
from dev.postgres.postmaster import port_taken

READY_SECONDS = 60.0


class Stopped(BaseException):
    """Somebody asked to stop; unwinds to where things are ended in order."""


class LaunchError(Exception):
    """Starting failed; the text is one sentence for the person at the terminal."""


def run(settings: Settings) -> int:
    """Run everything until asked to stop; return the exit code."""
    if settings.production:
        say("./run is for development; in production run serve, work and migrate (docs/operations.md)")
        return 2
    admin_is_ours = settings.bootstrap_admin_key is None
    own_sandbox = settings.amazon_base_url is None
    for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup the terminal may close; SIGINT is taken even where a shell's `&` made it ignored.
        if asked != signal.SIGHUP or signal.getsignal(asked) != signal.SIG_IGN:
            signal.signal(asked, _stop)
    cluster = Cluster(settings.data_dir) if settings.database_url is None else None
    children: Children | None = None
    try:
        door = _listen(settings, own_sandbox=own_sandbox)
        settings = with_sandbox(with_keys(settings))
        if cluster is not None:
            say(f"starting Postgres in {settings.data_dir}")
            cluster.start()
            settings = with_url(settings, cluster.url)
        children = Children(_environment(settings), say)
        _start(children, settings, door, own_sandbox=own_sandbox)
        _migrate(settings)
        children.go()
        _wait_until_ready(children, settings, own_sandbox=own_sandbox)
        example = _example(settings) if own_sandbox else None
        sys.stdout.write(welcome(settings, example, show_key=admin_is_ours, own_sandbox=own_sandbox))
        sys.stdout.flush()
        return _watch(children, cluster)
    except Stopped as stopped:
        say(f"asked to stop by {stopped}")
        return 0
    except (EmbeddedError, LaunchError) as problem:
        say(str(problem))
        return 1
    finally:
        # A second Ctrl-C must not cut the ending short: Postgres would be left behind.
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, signal.SIG_IGN)
        if children is not None:
            say("stopping")
            children.end()
        if cluster is not None:
            cluster.stop()


def _start(children: Children, settings: Settings, door: socket.socket, *, own_sandbox: bool) -> None:
    if own_sandbox:
        children.start("sandbox", "sandbox")
    # Each process is watched on a port of its own, those of the API first.
    first = settings.metrics_port
    ports = [
        () if first is None else ("--metrics-port", str(first + nth)) for nth in range(_processes(settings))
    ]
    for nth in range(settings.api_processes):
        # All API processes accept from one socket that the launcher holds: a restart loses no caller.
        children.start("API", "serve", "--socket", str(door.fileno()), *ports[nth], keep_open=[door.fileno()])
    for nth in range(settings.worker_processes):
        children.start("worker", "work", *ports[settings.api_processes + nth])


def _processes(settings: Settings) -> int:
    return settings.api_processes + settings.worker_processes


def _environment(settings: Settings) -> dict[str, str]:
    told = {**os.environ, **as_environment(settings)}
    if "log_level" not in settings.model_fields_set:
        # The terminal is for the welcome screen and for what goes wrong.
        told["LOG_LEVEL"] = "warning"
    return told


def _migrate(settings: Settings) -> None:
    # Imported here: while it loads, the children load as well.
    from app.commands.processes import migrate

    migrate(settings)


def _wait_until_ready(children: Children, settings: Settings, *, own_sandbox: bool) -> None:
    _wait_for(f"{settings.local_url(settings.port)}/health/ready", children)
    if own_sandbox:
        _wait_for(f"{settings.local_url(settings.sandbox_port)}/_sandbox/health", children)


def _listen(settings: Settings, *, own_sandbox: bool) -> socket.socket:
    """Take the API's port now, so that a port in use is told before anything is started."""
    if own_sandbox and port_taken(settings.sandbox_port, settings.host):
        raise LaunchError(f"Port {settings.sandbox_port} is in use; set SANDBOX_PORT to a free one.")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    door = socket.socket(family)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((settings.host, settings.port))
    except OSError:
        raise LaunchError(
            f"Port {settings.port} is in use or may not be opened; set PORT to a free one."
        ) from None
    door.listen(2048)
    return door


def _wait_for(address: str, children: Children) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if (name := children.dead()) is not None:
            raise LaunchError(f"The {name} ended while starting; what it said stands above.")
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  (our own address)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise LaunchError(f"{address} did not answer well within {READY_SECONDS:.0f} s.")


def _example(settings: Settings) -> Example | None:
    try:
        return ensure_example(settings, settings.local_url(settings.port))
    except ExampleError as problem:
        # The service runs; a missing example must not take it down.
        say(f"the example destination could not be made: {problem}")
        return None


class Postgres(Protocol):
    """What the launcher does with its Postgres while it watches."""

    def alive(self) -> bool: ...
    def start(self) -> None: ...


def _watch(children: Children, cluster: Postgres | None, *, every_s: float = 0.5) -> int:
    starts: deque[float] = deque()
    while True:
        time.sleep(every_s)
        if cluster is not None and not cluster.alive():
            while starts and starts[0] < time.monotonic() - PER_SECONDS:
                starts.popleft()
            if len(starts) >= RESTARTS:
                say("Postgres keeps ending; giving up")
                return 1
            starts.append(time.monotonic())
            say("Postgres ended; starting it again")
            try:
                cluster.start()
            except EmbeddedError as problem:
                # A start can meet a full disk, or be killed itself; the next one may not.
                say(f"{problem} Trying again.")
        if (broken := children.restart_exited()) is not None:
            say(f"the {broken} keeps ending; giving up")
            return 1


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(signal.Signals(number).name)


def say(sentence: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(f"./run: {sentence}\n")
