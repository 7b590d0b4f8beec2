"""The command line: one row a command, each imported only when it is asked for.

Exit codes: 0 done, 1 it failed, 2 wrong use or wrong settings, 130 interrupted. `plan` alone ends with 2 for
drift and with nothing else: wrong use and wrong settings are 1 there.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app import lifeline
from app.development import furnished
from app.postgres_binaries import EmbeddedError
from app.settings import Settings, SettingsError, read_settings

Parser = argparse.ArgumentParser
Run = Callable[[Settings, argparse.Namespace], int | None]

ALONE, FURNISHED = "alone", "furnished"
"""A command gets the settings as they are, or completed with the embedded database and the kept keys."""


@dataclass(frozen=True, slots=True)
class Command:
    """`run` is `module:function`; `add` adds the command's own arguments to its parser."""

    name: str
    help: str
    run: str
    needs: str = ALONE
    add: str | None = None


COMMANDS = (
    Command("up", "run everything on this machine (what bare ./run does)", "app.launch:launch_all"),
    Command(
        "serve", "run the API and the console", "app.launch:serve", FURNISHED, "app.launch:serve_arguments"
    ),
    Command("work", "run a delivery worker", "app.launch:work", FURNISHED, "app.launch:work_arguments"),
    Command("migrate", "bring the database to the newest schema", "app.launch:migrate_database", FURNISHED),
    Command("sandbox", "run the Amazon stand-in", "app.launch:sandbox"),
    Command(
        "example",
        "make the example destination at the sandbox (up does)",
        "app.launch:example",
        FURNISHED,
        "app.launch:example_arguments",
    ),
    Command(
        "plan",
        "show what a configuration file would change (ends with 2 when anything)",
        "app.configuration.commands:plan",
        FURNISHED,
        "app.configuration.commands:file_arguments",
    ),
    Command(
        "apply",
        "make destinations, limits and mappings as a configuration file says",
        "app.configuration.commands:apply",
        FURNISHED,
        "app.configuration.commands:file_arguments",
    ),
    Command(
        "export",
        "print destinations, limits and mappings as a configuration file",
        "app.configuration.commands:export",
        FURNISHED,
        "app.configuration.commands:export_arguments",
    ),
    Command(
        "schema",
        "print the JSON schema of the configuration file, for editors",
        "app.configuration.commands:schema",
    ),
    Command(
        "replay",
        "put a destination's dead events back on the road",
        "app.operating.replay:run",
        FURNISHED,
        "app.operating.replay:arguments",
    ),
    Command(
        "backfill",
        "send the rows of a CSV or NDJSON file as events, behind what is live",
        "app.operating.backfill:run",
        ALONE,
        "app.operating.backfill:arguments",
    ),
    Command(
        "keys",
        "list, make, rotate and revoke API keys",
        "app.operating.keys:run",
        FURNISHED,
        "app.operating.keys:arguments",
    ),
    Command(
        "rotate-keys",
        "seal everything stored under the first of ENCRYPTION_KEYS",
        "app.operating.rewrapping:run",
        FURNISHED,
    ),
    Command(
        "audit",
        "verify: is the audit what was written, row by row?",
        "app.operating.audit:run",
        FURNISHED,
        "app.operating.audit:arguments",
    ),
    Command(
        "balance",
        "do ledger, batches and counts say the same of every event?",
        "app.operating.balance:run",
        FURNISHED,
        "app.operating.balance:arguments",
    ),
    Command(
        "hash",
        "show the cleaned form and the hash of a value, and keep neither",
        "app.operating.hashing:run",
        ALONE,
        "app.operating.hashing:arguments",
    ),
    Command("doctor", "is this deployment healthy and safely configured?", "app.doctor:run", FURNISHED),
    Command(
        "conformance",
        "run Amazon's published cases against a stand-in",
        "app.operating.conformance.command:run",
        ALONE,
        "app.operating.conformance.command:arguments",
    ),
    Command("test", "run the tests (arguments go to pytest)", "app.check:test", ALONE, "app.check:rest"),
    Command("check", "format, lint, types, imports, migrations, tests", "app.check:run"),
    Command("bench", "what an event costs", "bench.command:run", ALONE, "bench.command:arguments"),
    Command("lock", "write requirements/*.txt anew from pyproject.toml", "app.check:lock"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Expected wrongs are one sentence, never a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    lifeline.hold()
    misused = 1 if words[:1] == ["plan"] else 2
    try:
        asked, rest = _parser(words).parse_known_args(words or ["up"])
    except SystemExit as ended:
        return misused if ended.code else 0
    command = next(one for one in COMMANDS if one.name == asked.command)
    if rest and not hasattr(asked, "rest"):
        # Options by name; what else there is may be a person's value, on its way into a log.
        options = [word.partition("=")[0] for word in rest if word.startswith("--")]
        print(f"unknown: {' '.join(options) or 'an argument too many'}; see --help", file=sys.stderr)
        return misused
    if rest:
        asked.rest = rest
    try:
        run: Run = _named(command.run)
        if command.name in {"test", "check", "lock"}:
            return run(Settings.model_construct(), asked) or 0
        settings = read_settings()
        if command.needs == ALONE:
            return run(settings, asked) or 0
        with furnished(settings) as complete:
            return run(complete, asked) or 0
    except SettingsError as wrong:
        print("The settings cannot be used:", *wrong.problems, sep="\n  ", file=sys.stderr)
        return misused
    except EmbeddedError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(words: Sequence[str]) -> Parser:
    parser = Parser(prog="./run", description="Send a journey's events to the Amazon Conversions API.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=command.help, description=command.help)
        # Only the command at hand is imported; `./run --help` stays quick.
        if command.add is not None and command.name in words:
            add: Callable[[Parser], None] = _named(command.add)
            add(one)
    return parser


def _named(address: str) -> Any:
    module, _, function = address.partition(":")
    return getattr(importlib.import_module(module), function)
