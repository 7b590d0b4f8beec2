"""The command line: one row per command; only the called command is imported.

Exit codes: 0 done, 1 failed, 2 wrong use or wrong settings, 130 interrupted. `plan` returns 2 for differences
and for wrong use. For wrong settings it returns 1, so that CI does not mistake them for differences.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.commands.failure import CommandFailed
from app.processes import parent_watch
from app.settings import Settings, SettingsError, read_settings

Parser = argparse.ArgumentParser
Run = Callable[[Settings, argparse.Namespace], int | Coroutine[None, None, int] | None]

PLAIN, KEYS, COMPLETE = "plain", "keys", "complete"
"""What a command needs: the settings unchanged, with development keys added where none is set, or with the
embedded database as well."""
INSUFFICIENT_PRIVILEGE = "42501"  # SQLSTATE


@dataclass(frozen=True, slots=True)
class Command:
    """`run` is `module:function`; `add` adds the command's own arguments to its parser."""

    name: str
    help: str
    run: str
    needs: str = PLAIN
    add: str | None = None


COMMANDS = (
    Command("up", "run everything on this machine (what bare ./run does)", "dev.commands:up"),
    Command(
        "serve",
        "run the API and the console",
        "app.commands.processes:serve",
        COMPLETE,
        "app.commands.processes:serve_arguments",
    ),
    Command(
        "work",
        "run a delivery worker",
        "app.commands.processes:work",
        COMPLETE,
        "app.commands.processes:work_arguments",
    ),
    Command(
        "migrate",
        "migrate the database to the newest schema",
        "app.commands.processes:migrate_database",
        COMPLETE,
    ),
    Command(
        "database-roles",
        "create the roles of API and workers, or print the SQL that does",
        "app.commands.database_roles:run",
        COMPLETE,
        "app.commands.database_roles:arguments",
    ),
    Command(
        "backup",
        "take a base backup of the database; with --follow, stream its WAL",
        "app.commands.backup:backup",
        COMPLETE,
        "app.commands.backup:backup_arguments",
    ),
    Command(
        "restore",
        "write a data directory from a backup, up to a point in time with --to",
        "app.commands.backup:restore",
        PLAIN,
        "app.commands.backup:restore_arguments",
    ),
    Command(
        "drill",
        "rehearse restore, upgrade, failover or a game day on this machine",
        "dev.drills.command:run",
        PLAIN,
        "dev.drills.command:arguments",
    ),
    Command(
        "health",
        "is the process of this container ready? (for health checks)",
        "app.commands.health:run",
        PLAIN,
        "app.commands.health:arguments",
    ),
    Command("sandbox", "run the Amazon stand-in", "dev.commands:sandbox"),
    Command(
        "example",
        "create the example destination in the sandbox (part of `up`)",
        "dev.commands:example",
        COMPLETE,
        "dev.commands:example_arguments",
    ),
    Command(
        "plan",
        "show what a configuration file would change (exits with 2 on differences)",
        "app.config_as_code.commands:plan",
        COMPLETE,
        "app.config_as_code.commands:file_arguments",
    ),
    Command(
        "apply",
        "apply a configuration file: destinations, limits and mappings",
        "app.config_as_code.commands:apply",
        COMPLETE,
        "app.config_as_code.commands:file_arguments",
    ),
    Command(
        "export",
        "print destinations, limits and mappings as a configuration file",
        "app.config_as_code.commands:export",
        COMPLETE,
        "app.config_as_code.commands:export_arguments",
    ),
    Command(
        "schema",
        "print the JSON schema of the configuration file, for editors",
        "app.config_as_code.commands:schema",
    ),
    Command(
        "replay",
        "queue a destination's dead or expired events again",
        "app.commands.replay:run",
        COMPLETE,
        "app.commands.replay:arguments",
    ),
    Command(
        "backfill",
        "send the rows of a CSV or NDJSON file as events, behind live traffic",
        "app.commands.backfill:run",
        KEYS,
        "app.commands.backfill:arguments",
    ),
    Command(
        "destinations",
        "list, show, pause and resume destinations",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:destinations_arguments",
    ),
    Command(
        "mappings",
        "list, publish and roll back mappings",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:mappings_arguments",
    ),
    Command(
        "events",
        "list and follow events, or show the history of one",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:events_arguments",
    ),
    Command(
        "rejections",
        "list or count a destination's rejected events",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:rejections_arguments",
    ),
    Command(
        "stats",
        "show a destination's counts, rates and health",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:stats_arguments",
    ),
    Command(
        "incidents",
        "list and acknowledge incidents",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:incidents_arguments",
    ),
    Command(
        "erase",
        "erase a person; the value comes from standard input",
        "app.commands.api_commands:run",
        KEYS,
        "app.commands.api_commands:erase_arguments",
    ),
    Command(
        "keys",
        "list, create, rotate and revoke API keys",
        "app.commands.keys:run",
        COMPLETE,
        "app.commands.keys:arguments",
    ),
    Command(
        "rotate-keys",
        "re-encrypt stored values with the first of ENCRYPTION_KEYS",
        "app.commands.rotate_encryption_keys:run",
        COMPLETE,
    ),
    Command(
        "audit",
        "verify that no audit row was changed",
        "app.commands.audit:run",
        COMPLETE,
        "app.commands.audit:arguments",
    ),
    Command(
        "balance",
        "check that ledger, batches and counts agree on every event",
        "app.commands.balance:run",
        COMPLETE,
        "app.commands.balance:arguments",
    ),
    Command(
        "hash",
        "print the normalised form and the hash of a value; store neither",
        "app.commands.hash:run",
        PLAIN,
        "app.commands.hash:arguments",
    ),
    Command(
        "show-fast-path",
        "print the code generated for a mapping document",
        "app.commands.show_fast_path:run",
        PLAIN,
        "app.commands.show_fast_path:arguments",
    ),
    Command(
        "doctor",
        "check that the deployment is healthy and safely configured",
        "app.commands.doctor:run",
        COMPLETE,
    ),
    Command(
        "scan-personal-data",
        "search every column of the database for personal data in clear",
        "app.commands.scan_personal_data:run",
        COMPLETE,
        "app.commands.scan_personal_data:arguments",
    ),
    Command(
        "sbom",
        "print the software bill of materials (CycloneDX JSON)",
        "dev.sbom:run",
        PLAIN,
        "dev.sbom:arguments",
    ),
    Command(
        "conformance",
        "run Amazon's published cases against a stand-in",
        "sandbox.conformance.command:run",
        PLAIN,
        "sandbox.conformance.command:arguments",
    ),
    Command(
        "test",
        "run the tests (arguments go to pytest)",
        "dev.checks:test",
        PLAIN,
        "dev.checks:test_arguments",
    ),
    Command("check", "format, lint, types, imports, migrations, tests", "dev.checks:run"),
    Command("bench", "measure the cost of an event", "bench.command:run", PLAIN, "bench.command:arguments"),
    Command("lock", "regenerate requirements/*.txt from pyproject.toml", "dev.checks:lock"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Expected failures print one sentence, never a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parent_watch.exit_with_parent()
    try:
        asked, rest = _parser(words).parse_known_args(words or ["up"])
    except SystemExit as ended:
        return 2 if ended.code else 0
    command = next(one for one in COMMANDS if one.name == asked.command)
    if rest and not hasattr(asked, "rest"):
        # Print only option names: another argument may be a person's value and would reach a log.
        options = [word.partition("=")[0] for word in rest if word.startswith("--")]
        print(f"unknown: {' '.join(options) or 'unexpected argument'}; see --help", file=sys.stderr)
        return 2
    if rest:
        asked.rest = rest
    try:
        run: Run = _named(command.run)
        if command.name in {"test", "check", "lock"}:
            return _exit_code(run(Settings.model_construct(), asked))
        settings = read_settings()
        with _completed(settings, command.needs) as complete:
            return _exit_code(run(complete, asked))
    except SettingsError as wrong:
        print("The settings cannot be used:", *wrong.problems, sep="\n  ", file=sys.stderr)
        # For CI, exit code 2 of `plan` means a difference. A wrong setting must not look like one.
        return 1 if command.name == "plan" else 2
    except CommandFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from app.store.errors import connection_problem

        if sentence := connection_problem(error):
            print(f"The database cannot be used: {sentence}.", file=sys.stderr)
            return 1
        if getattr(error, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        print(
            f"The role of the database URL lacks privileges for {command.name}: set MIGRATION_DATABASE_URL, "
            "or run `migrate` to grant them.",
            file=sys.stderr,
        )
        return 1


def _exit_code(done: int | Coroutine[None, None, int] | None) -> int:
    if isinstance(done, Coroutine):
        import asyncio  # not needed for most commands

        return asyncio.run(done)
    return done or 0


@contextmanager
def _completed(settings: Settings, needs: str) -> Iterator[Settings]:
    """Add development defaults. `dev` is imported only here, never in production."""
    if needs == PLAIN or settings.is_complete:
        yield settings
        return
    from dev.environment import with_dev_defaults, with_keys

    if needs == KEYS:
        yield with_keys(settings)
        return
    with with_dev_defaults(settings) as complete:
        yield complete


def _parser(words: Sequence[str]) -> Parser:
    parser = Parser(prog="./run", description="Send a journey's events to the Amazon Conversions API.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=command.help, description=command.help)
        # Import only the called command, so that `./run --help` stays fast.
        if command.add is not None and command.name in words:
            add: Callable[[Parser], None] = _named(command.add)
            add(one)
    return parser


def _named(address: str) -> Any:
    module, _, function = address.partition(":")
    return getattr(importlib.import_module(module), function)
