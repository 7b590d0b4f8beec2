"""`serve`, `work` and `migrate`. Imports are inside the functions, so that `--help` is fast."""

import argparse
import socket

from app.commands.argument_types import port
from app.commands.failure import CommandFailed
from app.processes import gc_tuning, parent_watch
from app.settings import Settings


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=int, help="an inherited listening socket, instead of HOST and PORT")
    work_arguments(parser)


def work_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics-port", type=port, help="port of this process, instead of METRICS_PORT")


def serve(settings: Settings, asked: argparse.Namespace) -> None:
    """Run the API and the console until SIGTERM or SIGINT."""
    with gc_tuning.paused():
        from app.processes import api

    parent_watch.wait_for_start()
    sockets = None if asked.socket is None else [socket.socket(fileno=asked.socket)]
    api.serve(_with_port(settings, asked), sockets=sockets)


def work(settings: Settings, asked: argparse.Namespace) -> None:
    """Run a delivery worker until SIGTERM or SIGINT."""
    with gc_tuning.paused():
        from app.processes import worker

    parent_watch.wait_for_start()
    worker.run(_with_port(settings, asked))


def _with_port(settings: Settings, asked: argparse.Namespace) -> Settings:
    return settings.model_copy(update={"metrics_port": asked.metrics_port or settings.metrics_port})


def migrate(settings: Settings, _asked: argparse.Namespace) -> None:
    """Migrate the database to the newest schema and grant the privileges of this release to its roles."""
    from app.store.database.schema_revision import required

    upgrade(settings)
    print(f"The database is at revision {required()}.")


def upgrade(settings: Settings) -> None:
    """Migrate the database with the role that owns the tables, and grant privileges to the other roles.

    Raises CommandFailed if one of these roles is missing, or if another session holds a lock for too long.
    """
    from app.commands.database_roles import role_names
    from app.store.database import migrate

    try:
        missing = migrate.upgrade(settings.database_for("owner"), roles=role_names(settings))
    except migrate.MigrationBlocked:
        raise CommandFailed(
            "Another session holds a lock on a table that a migration changes. Nothing of that migration was "
            "applied. End long transactions (see pg_stat_activity), then migrate again."
        ) from None
    if missing:
        raise CommandFailed(
            f"The database has no role {', '.join(missing)}: create it with `database-roles`, then migrate."
        )
