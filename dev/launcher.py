"""`./run`: run the service, its database and the sandbox on one machine until Ctrl-C.

They start in the order Postgres, sandbox, migrations, API, workers, example. They stop in the reverse order,
so that no process loses another that it needs. A child process that exits is restarted. If it keeps exiting,
everything is stopped.
"""

import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from types import FrameType
from typing import Protocol

from app.commands import CommandFailed
from app.processes.listeners import listen
from app.settings import Settings
from dev.banner import welcome
from dev.child_processes import PER_SECONDS, RESTARTS, Children
from dev.environment import as_environment, with_keys, with_sandbox, with_url
from dev.example import Example, ensure_example
from dev.postgres.cluster import Cluster, EmbeddedError

READY_SECONDS = 60.0


class Stopped(BaseException):
    """A signal requested shutdown. The text is the name of the signal."""


class LaunchError(Exception):
    """The start failed. The text is printed to the terminal."""


def run(settings: Settings) -> int:
    """Run everything until a signal requests shutdown. Return the exit code."""
    if settings.production:
        say("./run is for development only. In production run serve, work and migrate (docs/production.md).")
        return 2
    generated_admin_key = settings.bootstrap_admin_key is None
    own_sandbox = settings.amazon_base_url is None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP stays ignored. SIGINT is handled even if a shell ignores it, as for a command
        # with `&`.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    cluster = Cluster(settings.data_dir) if settings.database_url is None else None
    children: Children | None = None
    try:
        listener = _listen(settings, own_sandbox=own_sandbox)
        settings = with_sandbox(with_keys(settings))
        if cluster is not None:
            say(f"starting Postgres in {settings.data_dir}")
            cluster.start()
            settings = with_url(settings, cluster.url)
        children = Children(_environment(settings), say)
        _start(children, settings, listener, own_sandbox=own_sandbox)
        # Imported here, after the children were started, so that both load modules at the same time.
        from app.commands.database import upgrade

        upgrade(settings)
        children.go()
        _wait_for(f"{settings.local_url(settings.port)}/health/ready", children)
        if own_sandbox:
            _wait_for(f"{settings.local_url(settings.sandbox_port)}/_sandbox/health", children)
        example = _example(settings) if own_sandbox else None
        sys.stdout.write(welcome(settings, example, show_key=generated_admin_key, own_sandbox=own_sandbox))
        sys.stdout.write("\n  Ctrl-C stops everything.\n")
        sys.stdout.flush()
        return _watch(children, cluster)
    except Stopped as stopped:
        say(f"received {stopped}")
        return 0
    except (EmbeddedError, LaunchError) as problem:
        say(str(problem))
        return 1
    finally:
        # A second Ctrl-C must not interrupt the shutdown, or Postgres would keep running.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if children is not None:
            say("stopping")
            children.end()
        if cluster is not None:
            cluster.stop()


def _start(children: Children, settings: Settings, listener: socket.socket, *, own_sandbox: bool) -> None:
    if own_sandbox:
        children.start("sandbox", "sandbox")
    # Each process has its own monitoring port. The API processes have the first ports.
    first = settings.metrics_port
    ports = [
        () if first is None else ("--metrics-port", str(first + index))
        for index in range(settings.api_processes + settings.worker_processes)
    ]
    socket_number = listener.fileno()
    for index in range(settings.api_processes):
        # All API processes accept connections from one socket of the launcher, so that a restart loses none.
        children.start(
            "API", "serve", "--socket", str(socket_number), *ports[index], keep_open=[socket_number]
        )
    for index in range(settings.worker_processes):
        children.start("worker", "work", *ports[settings.api_processes + index])


def _environment(settings: Settings) -> dict[str, str]:
    variables = as_environment(settings)
    if "log_level" not in settings.model_fields_set:
        # The terminal shows only the welcome screen and problems.
        variables["LOG_LEVEL"] = "warning"
    return variables


def _listen(settings: Settings, *, own_sandbox: bool) -> socket.socket:
    """Open the API's port before anything is started, so that a port in use is reported immediately."""
    if own_sandbox:
        listen(settings, settings.sandbox_port, "SANDBOX_PORT").close()
    return listen(settings, settings.port, "PORT")


def _wait_for(address: str, children: Children) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if (name := children.dead()) is not None:
            raise LaunchError(f"The {name} process exited while starting. See its output above.")
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310  (our own address)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise LaunchError(f"{address} was not ready within {READY_SECONDS:.0f} s.")


def _example(settings: Settings) -> Example | None:
    try:
        return ensure_example(settings, settings.local_url(settings.port))
    except CommandFailed as problem:
        # The service works without the example.
        say(f"The example destination was not created: {problem}")
        return None


class Postgres(Protocol):
    """The part of a cluster that `_watch` uses."""

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
                say("Postgres keeps exiting. Stopping.")
                return 1
            starts.append(time.monotonic())
            say("Postgres exited. Restarting it.")
            try:
                cluster.start()
            except EmbeddedError as problem:
                # The cause may be temporary, such as a full disk.
                say(f"{problem} Retrying.")
        if (broken := children.restart_exited()) is not None:
            say(f"The {broken} process keeps exiting. Stopping.")
            return 1


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(signal.Signals(number).name)


def say(sentence: str) -> None:
    """Print a line to the terminal."""
    sys.stderr.write(f"./run: {sentence}\n")
