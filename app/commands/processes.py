"""The long-running commands: what each opens, and how it ends.

Each imports what it runs when it runs: the sandbox starts without the service, and `--help` without both.
"""

import argparse
import socket
import sys

from app.processes import parent_watch
from app.settings import Settings


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=int, help="an inherited listening socket, instead of HOST and PORT")
    work_arguments(parser)


def work_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics-port", type=int, help="this process's own, instead of METRICS_PORT")


def serve(settings: Settings, asked: argparse.Namespace) -> None:
    """Run the API and the console until SIGTERM or SIGINT."""
    from app.processes import api

    parent_watch.wait_for_go()
    given = None if asked.socket is None else [socket.socket(fileno=asked.socket)]
    api.serve(_with_port(settings, asked), sockets=given)


def work(settings: Settings, asked: argparse.Namespace) -> None:
    """Run a delivery worker until SIGTERM or SIGINT."""
    from app.processes import worker

    parent_watch.wait_for_go()
    worker.run(_with_port(settings, asked))


def _with_port(settings: Settings, asked: argparse.Namespace) -> Settings:
    return settings.model_copy(update={"metrics_port": asked.metrics_port or settings.metrics_port})


def migrate_database(settings: Settings, _asked: argparse.Namespace) -> None:
    """Bring the database to the newest schema."""
    from app.store import migrate

    assert settings.database_url is not None
    migrate.upgrade(settings.database_url.get_secret_value())
    sys.stdout.write(f"The database is at revision {migrate.newest()}.\n")


def sandbox(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run the Amazon stand-in; what it must remember is kept in DATA_DIR."""
    if settings.production:
        sys.stderr.write("The sandbox takes events in Amazon's place; it does not run in production.\n")
        return 2
    import uvicorn

    from sandbox.app import create_sandbox

    uvicorn.run(
        create_sandbox(state_dir=settings.data_dir / "sandbox"),
        host=settings.host,
        port=settings.sandbox_port,
        log_level="warning",
        access_log=False,
    )
    return 0


def launch_all(settings: Settings, _asked: argparse.Namespace) -> int:
    """Run everything on this machine."""
    from dev import launcher

    return launcher.run(settings)


def example_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api", help="address of the API, where it is not on this machine")


def example(settings: Settings, asked: argparse.Namespace) -> int:
    """Make the example destination and print the welcome screen: `up`'s last step, for containers."""
    from dev.banner import welcome
    from dev.environment import Keys
    from dev.example import ExampleError, ensure_example

    if settings.production:
        sys.stderr.write("The example sends to the sandbox; there is none in production.\n")
        return 2
    try:
        made = ensure_example(settings, asked.api or settings.local_url(settings.port))
    except ExampleError as problem:
        sys.stderr.write(f"The example destination could not be made: {problem}.\n")
        return 1
    assert settings.bootstrap_admin_key is not None
    ours = settings.bootstrap_admin_key.get_secret_value() == Keys.of(settings.data_dir).admin
    sys.stdout.write(welcome(settings, made, show_key=ours, own_sandbox=True))
    return 0
