"""The command line: a table of commands. The program imports only the module of the command that it runs.

Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 130 interrupted. `plan` returns 2 if there are
differences. For wrong settings `plan` returns 1, so that CI does not mistake an error for differences.
"""

import errno
import importlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from types import ModuleType

from app.commands import CommandFailed
from app.commands.health import PROGRAM
from app.processes import parent_watch
from app.settings import REQUIRED, Settings, SettingsError, read_settings

Run = Callable[[Settings, Namespace], int | Coroutine[None, None, int] | None]

# What is added to the settings of a command on a development machine.
PLAIN = "plain"  # nothing
KEYS = "keys"  # development keys
COMPLETE = "complete"  # development keys and the embedded database
DATABASE = "database"  # a database to back up, without keys
INSUFFICIENT_PRIVILEGE = "42501"  # SQLSTATE
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table. `run` is `module:function`; without a function it is `run`.

    A module without a package is one of `app.commands`. The default is the module with the command's name.

    If the module has a function `arguments`, or `FUNCTION_arguments` for another function than `run`, that
    adds the command's own arguments to its parser.
    """

    name: str
    help: str
    run: str = ""
    needs: str = PLAIN

    def load(self) -> tuple[ModuleType, str]:
        """Import the module. Return it and the name of the function."""
        module, _, function = (self.run or self.name.replace("-", "_")).partition(":")
        name = module if "." in module else f"app.commands.{module}"
        return importlib.import_module(name), function or "run"


COMMANDS = (
    Command("up", "run everything on this machine (what bare ./run does)", "dev.commands:up"),
    Command("serve", "run the API and the console", "processes:serve", COMPLETE),
    Command("work", "run a delivery worker", "processes:work", COMPLETE),
    Command("migrate", "migrate the database to the newest schema", "database:migrate", COMPLETE),
    Command(
        "database-roles", "create the database roles, or print the SQL", "database:create_roles", COMPLETE
    ),
    Command("backup", "take a base backup of the database; with --follow, stream its WAL", needs=DATABASE),
    Command("restore", "write a data directory from a backup, up to a time with --to", "backup:restore"),
    Command("drill", "rehearse a restore, an upgrade or a failure on this machine", "dev.drills.command"),
    Command("health", "is the process of this container ready? (for health checks)"),
    Command("sandbox", "run the Amazon stand-in; its page /faults simulates errors", "dev.commands:sandbox"),
    Command("example", "create the example destination (part of `up`)", "dev.commands:example", COMPLETE),
    *(
        Command(name, text, f"app.config_as_code.commands:{name}", needs)
        for name, text, needs in (
            ("plan", "show what a configuration file would change (exits with 2 on differences)", COMPLETE),
            ("apply", "apply a configuration file: destinations, limits and mappings", COMPLETE),
            ("export", "print destinations, limits and mappings as a configuration file", COMPLETE),
            ("schema", "print the JSON schema of the configuration file, for editors", PLAIN),
        )
    ),
    Command("replay", "queue a destination's dead or expired events again", needs=COMPLETE),
    Command("backfill", "send the rows of a CSV or NDJSON file as events, behind live traffic", needs=KEYS),
    Command("destinations", "list, show, pause and resume destinations", "api_commands", KEYS),
    Command("mappings", "list, publish and roll back mappings", "api_commands", KEYS),
    Command("events", "list and follow events, or show the history of one", "api_commands", KEYS),
    Command("rejections", "list or count a destination's rejected events", "api_commands", KEYS),
    Command("stats", "show a destination's counts, rates and health", "api_commands", KEYS),
    Command("incidents", "list and acknowledge incidents", "api_commands", KEYS),
    Command("sessions", "list and end sessions of the console", "api_commands", KEYS),
    Command("erase", "erase a person; the value comes from standard input", "api_commands", KEYS),
    Command("keys", "list, create and revoke API keys", needs=COMPLETE),
    Command("rotate-keys", "encrypt data keys and tokens with the first of ENCRYPTION_KEYS", needs=COMPLETE),
    Command("audit", "verify that no audit row was changed", needs=COMPLETE),
    Command("balance", "check that ledger, batches and counts agree on every event", needs=COMPLETE),
    Command("doctor", "check that the deployment is healthy and safely configured", needs=COMPLETE),
    Command("scan-personal-data", "search the database for personal data in clear", needs=COMPLETE),
    Command("sbom", "print the software bill of materials (CycloneDX JSON)", "dev.sbom"),
    Command("docs", "serve the documents as a site with a search", "dev.site.command"),
    Command("conformance", "run Amazon's published cases against a stand-in", "sandbox.conformance.command"),
    Command("test", "run the tests (arguments go to pytest)", "dev.checks:test"),
    Command("campaign", "run a long test of faults, attacks or generated inputs", "dev.checks:campaign"),
    Command("check", "format, lint, types, imports, migrations, tests", "dev.checks"),
    Command("bench", "measure what an event costs, and compare with another commit", "bench.command"),
    Command("lock", "regenerate requirements/*.txt from pyproject.toml", "dev.checks:lock"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An expected failure prints a sentence, not a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_outputs()
    parent_watch.exit_with_parent()
    try:
        parsed, rest = _parser(words).parse_known_args(words or ["up"])
    except SystemExit as ended:
        return 2 if ended.code else 0
    except ModuleNotFoundError as lacking:  # in the image
        print(f"{lacking.name} is not installed: run this command with ./run in a checkout.", file=sys.stderr)
        return 1
    command = next(command for command in COMMANDS if command.name == parsed.command)
    if rest and not hasattr(parsed, "rest"):
        # Print only the names of options: any other argument may be a person's value and would reach a log.
        options = [word.partition("=")[0] for word in rest if word.startswith("--")]
        print(f"unknown: {' '.join(options) or 'unexpected argument'}; see --help", file=sys.stderr)
        return 2
    if rest:
        parsed.rest = rest
    try:
        run: Run = getattr(*command.load())
        if command.name in {"test", "campaign", "check", "lock"}:
            return _exit_code(run(Settings.model_construct(), parsed))
        required = REQUIRED if command.needs == COMPLETE else ()
        with _dev_defaults(read_settings(required=required), command.needs) as settings:
            return _exit_code(run(settings, parsed))
    except SettingsError as wrong:
        print("The settings cannot be used:", *wrong.problems, sep="\n  ", file=sys.stderr)
        # For CI, exit code 2 of `plan` means a difference. A wrong setting must not look like one.
        return 1 if command.name == "plan" else 2
    except CommandFailed as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _discard_output()  # its reader, such as `head`, wants no more
        return 1
    except Exception as error:
        from app.store.errors import connection_problem

        if sentence := connection_problem(error):
            print(f"The database cannot be used: {sentence}.", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and error.filename is not None:
            print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            _discard_output()
            print(f"The output or a file cannot be written: {error.strerror}.", file=sys.stderr)
            return 1
        if getattr(getattr(error, "orig", error), "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        from app.processes.resources import database_role

        if command.name in {"database-roles", "migrate"}:
            remedy = "set MIGRATION_DATABASE_URL to the owner of the database"
        elif database_role(command.name) == "api":
            remedy = "run it where the API runs, or run `migrate` to grant them"
        else:
            remedy = "set MIGRATION_DATABASE_URL, or run `migrate` to grant them"
        print(f"The role of the database URL lacks privileges for {command.name}: {remedy}.", file=sys.stderr)
        return 1


def _open_outputs() -> None:
    """Discard what is written to a closed output. Else the next file or connection would get its number."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, TextIOWrapper):  # a name can have characters that the locale lacks
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Write the rest of the output, which Python would write at the exit, to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code(done: int | Coroutine[None, None, int] | None) -> int:
    if isinstance(done, Coroutine):
        import asyncio  # not needed for most commands

        done = asyncio.run(done)
    sys.stdout.flush()
    return done or 0


@contextmanager
def _dev_defaults(settings: Settings, needs: str) -> Iterator[Settings]:
    """Add what the command needs on a development machine. In production, do not even import `dev`."""
    has_database = needs == DATABASE and bool(settings.backup_database_url or settings.database_url)
    if settings.production and needs == DATABASE and not has_database:
        raise SettingsError(["BACKUP_DATABASE_URL: is required when APP_ENV is production."])
    if needs == PLAIN or settings.is_complete or has_database:
        yield settings
        return
    from dev.environment import with_dev_defaults, with_keys

    if needs == KEYS:
        yield with_keys(settings)
        return
    with with_dev_defaults(settings) as complete:
        yield complete


def _parser(words: Sequence[str]) -> ArgumentParser:
    parser = ArgumentParser(
        prog=PROGRAM, description="Send a journey's events to the Amazon Conversions API."
    )
    text = "".join(words)
    if text.encode(errors="ignore").decode() != text:
        parser.error("an argument is no text in UTF-8")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.help, description=command.help)
        # Import only the called command, so that `./run --help` stays fast.
        if command.name in words:
            module, function = command.load()
            name = "arguments" if function == "run" else f"{function}_arguments"
            if add := getattr(module, name, None):
                add(subparser)
    return parser
