"""The command line fails in one sentence, and with the exit code that scripts rely on."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from app import cli
from app.commands import health
from tests.config_as_code.files import acme, file
from tests.databases import ROLES, acting_as
from tests.listening import SilentHandler, handling
from tests.pipeline import fork_server
from tests.tables import cases

pytestmark = pytest.mark.process

Run = Callable[..., Awaitable[tuple[int, str, str]]]

KEY = "k1:" + base64.b64encode(hashlib.sha256(b"a key of this test").digest()).decode()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(words, {**os.environ, **environment})


def program(*words: str | bytes, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run Python with these words to its end. `command` runs a fork of a process that has imported all."""
    streams: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "check": False,
    }
    return subprocess.run([sys.executable, *words], **(streams | options))


def test_a_role_that_may_not_set_up_the_database_is_not_sent_to_migrate(empty_database_url: str) -> None:
    """`migrate` would end in the same way. On Postgres 15, only a superuser creates the role of backups."""
    role = acting_as(empty_database_url, ROLES.backup)
    settings = {
        "MIGRATION_DATABASE_URL": role,
        "DATABASE_URL": role.replace(ROLES.backup or "", "new_role"),
        "ENCRYPTION_KEYS": KEY,
    }
    for words in ("database-roles", "migrate"):
        ended = command(words, **settings)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith(f"The role of the database URL lacks privileges for {words}: ")
        assert "run `migrate`" not in ended.stderr
        assert "Traceback" not in ended.stderr
    ended = command("database-roles", **settings)
    assert "may not create new_role" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, "one sentence, without Postgres' lines of details"
    assert "`database-roles --sql`" in ended.stderr


def test_wrong_settings_end_with_2_and_no_traceback() -> None:
    """One run reports every problem, without a value and without a traceback."""
    ended = command("migrate", PORT="x", DATABASE_URL="postgresql://app:hunter2@")
    assert ended.returncode == 2
    assert "PORT: " in ended.stderr
    assert "DATABASE_URL: " in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_plan_ends_with_2_on_wrong_arguments_and_with_1_on_wrong_settings() -> None:
    """As every command; but what depends on the machine must not look like a difference."""
    for words in (("plan",), ("plan", "f.yaml", "--max-loss", "1"), ("plan", "f.yaml", "more")):
        assert command(*words).returncode == 2, words
    assert command("plan", "f.yaml", PORT="x").returncode == 1
    assert command("plan", "--help").returncode == 0


def test_an_argument_that_is_no_text_is_a_mistake() -> None:
    """Every command ended in a traceback, because neither HTTP nor Postgres takes it."""
    ended = program("-m", "app", "keys", "revoke", b"\xff")
    assert (ended.returncode, "no text in UTF-8" in ended.stderr) == (2, True), ended.stderr


NO_URLS = ("localhost:8000", "elsewhere", "http://", "http://[x")
NO_ADDRESSES = (*NO_URLS, "ftp://x", "http://a..b", f"http://{'a' * 64}.example", "http://x:99999")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *((f"destinations list --api {text}", "must be an address such as") for text in NO_ADDRESSES),
        # Otherwise they would wait for the API to return.
        *((f"{words} --api x", "must be an address such as") for words in ("backfill x.csv", "events tail")),
        *((f"conformance {address}", "The address is not valid.") for address in NO_URLS),
        # A file, an unused number, and numbers that are none.
        *((f"serve --socket {number}", "is no listening socket") for number in (-1, 0, 99, 2**40)),
        # As for METRICS_PORT.
        *((f"{role} --metrics-port 65536", "a port from 1 to 65,535\n") for role in ("serve", "work")),
        # They ended in a traceback, a backup after it was taken.
        *(
            (f"{argument} {days}", "must be a number of days from ")
            for argument in ("keys create a replay --days", "balance --days", "backup /tmp --keep-days")
            for days in ("-1", "10000000", "1e3", "9" * 5_000)
        ),
        ("balance --days 0", "must be a number of days from 1 "),
        # In UTC before the year 1, or after the year 9999: a replay ended in a traceback.
        *(
            (f"{argument} {time}", ": must be a time such as 2026-11-24T10:00:00Z\n")
            for argument in ("replay dst_1 --since", "replay dst_1 --until", "restore /nonexistent --to")
            for time in ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "now")
        ),
        # Taken in UTC, it may be hours from the time that was meant.
        ("restore /nonexistent --to 2026-11-24T10:00:00", ": a time needs an offset, such as Z\n"),
        # The output does not mention the audit, as a finding does.
        ("audit verify --head abc", "64 hexadecimal digits"),
        # As in the API; a misspelt reason would match no event and end with 0.
        ("replay dst_1 --reason gaveup", "--reason"),
        # A wrong setting, which is seen by the command only.
        ("database-roles", "All database URLs have the same role."),
        ("migrate --hurry", "--hurry"),
        ("fly", "'fly'"),
    ],
)
def test_a_wrong_argument_is_a_mistake(words: str, sentence: str) -> None:
    """And no failure of the command, which has not begun."""
    ended = command(*words.split(), DATABASE_URL="postgresql://u:p@127.0.0.1:1/d")
    assert (ended.returncode, sentence in ended.stderr) == (2, True), ended.stderr
    assert "chain" not in ended.stdout + ended.stderr


def test_a_folder_that_cannot_be_used_is_named_without_a_traceback(tmp_path: Path) -> None:
    """The folder is an argument, so its fault is no bug."""
    occupied = tmp_path / "file"
    occupied.touch()
    base = tmp_path / "backups" / "base-20261124T100000Z"
    base.mkdir(parents=True)
    restore = ("restore", str(tmp_path / "backups"), "--data-dir")
    for words in ((*restore, str(occupied)), (*restore, "/proc/folder"), ("docs", "--build", str(occupied))):
        ended = command(*words)
        assert ended.returncode == 1, words
        assert ended.stderr.startswith(words[-1]), ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").touch()
    ended = command(*restore, str(data), "--replace")
    assert ended.stderr.startswith(f"{base} is damaged (its PG_VERSION cannot be read)"), ended.stderr
    assert (ended.returncode, [*data.iterdir()]) == (1, [data / "file"]), ended.stderr


def test_a_command_that_the_image_lacks_packages_for_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The image has only what processes need."""
    monkeypatch.delitem(sys.modules, "dev.sbom", raising=False)
    monkeypatch.setitem(sys.modules, "cyclonedx.factory.license", None)
    assert cli.main(["sbom"]) == 1
    assert "run this command with ./run in a checkout" in capsys.readouterr().err


def test_a_reader_that_wants_no_more_ends_the_command_quietly() -> None:
    """As `head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = program("-m", "app", "schema", stdout=writing)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_output_to_a_full_disk_is_one_sentence() -> None:
    """`export` to a full disk ended in a traceback; nothing is left to write at the exit."""
    with Path("/dev/full").open("w") as full:
        ended = program("-m", "app", "schema", stdout=full)
    assert (ended.returncode, ended.stderr) == (
        1,
        "The output or a file cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_output_is_discarded(closed: int) -> None:
    """The next file or connection would get its number, and the flush at the end failed."""
    words = [sys.executable, "-m", "app", "schema"]
    ended = program("-c", f"import os; os.close({closed}); os.execv({words[0]!r}, {words!r})")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert bool(ended.stdout) is (closed != 1)


_INTERRUPTED_IMPORT = """
import runpy, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "app.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
sys.argv = ["app", "balance"]
runpy.run_module("app", run_name="__main__")
"""


def test_an_interrupt_during_the_imports_leaves_no_traceback() -> None:
    ended = program("-c", _INTERRUPTED_IMPORT)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_an_interrupt_ends_the_question_for_a_canary() -> None:
    """In an event loop, Ctrl-C did nothing until a line was entered."""
    terminal, standard_input = os.openpty()
    settings = {
        "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
        "ENCRYPTION_KEYS": KEY,
        "BOOTSTRAP_ADMIN_KEY": "an-admin-key-for-tests-0123456789abcdef",
        "AMAZON_CLIENT_ID": "example",
    }
    asking = subprocess.Popen(
        [sys.executable, "-m", "app", "scan-personal-data", "--canary", "-"],
        stdin=standard_input,
        stderr=subprocess.PIPE,
        env={**os.environ, **settings},
        start_new_session=True,  # so that it asks on its standard input, not on the terminal of the tests
    )
    try:
        assert asking.stderr is not None
        question = b"Canary (not shown): "
        assert asking.stderr.read(len(question)) == question
        asking.send_signal(signal.SIGINT)
        assert asking.wait(10) == 130
    finally:
        asking.kill()
        asking.communicate()
        os.close(terminal)
        os.close(standard_input)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (("keys", "create"), "NAME SCOPE [SCOPE ...]"),
        (("keys", "revoke"), "KEY_ID"),
        (("replay",), "DESTINATION"),
        (("backfill",), "FILE"),
        (("conformance",), "URL"),
    ],
)
def test_the_usage_names_arguments_as_the_document_does(words: tuple[str, ...], arguments: str) -> None:
    """docs/commands.md has `keys create NAME SCOPE…`."""
    ended = command(*words, "--help")
    usage, _, _ = ended.stdout.partition("\n\n")
    assert usage.split()[-len(arguments.split()) :] == arguments.split()


def test_an_argument_too_many_is_not_repeated() -> None:
    """It may be a person's value, and what stands on a terminal of a pipeline is kept."""
    ended = command("erase", "email", "ada@example.com", "lovelace@example.com", "--hurry=byron")
    assert ended.returncode == 2
    assert "--hurry" in ended.stderr
    assert not any(word in ended.stderr for word in ("ada", "lovelace", "byron"))


@pytest.mark.parametrize("name", ["up", "sandbox", "example"])
def test_what_only_a_developer_may_run_is_refused_in_production(name: str) -> None:
    """The sandbox would take real events in Amazon's place."""
    ended = command(
        name,
        APP_ENV="production",
        DATABASE_URL="postgresql://app:hunter2@localhost/none",
        ENCRYPTION_KEYS=KEY,
        PUBLIC_URL="https://events.example.com",
    )
    assert ended.returncode == 2
    assert "production" in ended.stderr


@cases(
    "words, says",
    {
        "an unreachable database": (("backup", "{tmp}"), "The database cannot be used: "),
        "no base backup": (
            ("restore", "{tmp}", "--data-dir", "{tmp}/data"),
            "{tmp} contains no base backup.",
        ),
        "no folder of backups": (
            ("restore", "{tmp}/none", "--data-dir", "{tmp}/data"),
            "{tmp}/none is no folder: ",
        ),
        "no API": (
            ("destinations", "list", "--api", "http://127.0.0.1:1", "--key-file", "{tmp}/key"),
            "The API does not respond: ",
        ),
    },
)
def test_a_command_that_serves_nothing_needs_no_setting_of_the_api(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """In production they often run on a machine without its secrets."""
    (tmp_path / "key").write_text("ack_1")
    ended = command(
        *(word.format(tmp=tmp_path) for word in words),
        APP_ENV="production",
        BACKUP_DATABASE_URL="postgresql://backup:hunter2@127.0.0.1:1/none",
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith(says.format(tmp=tmp_path)), ended.stderr


@cases(
    "words, says",
    {
        "a process": (("serve",), "ENCRYPTION_KEYS: is required when APP_ENV is production."),
        "a backup": (("backup", "{tmp}"), "BACKUP_DATABASE_URL: is required when APP_ENV is production."),
        "a restore": (("restore", "{tmp}"), "In production no embedded Postgres is restored"),
    },
)
def test_a_command_in_production_needs_the_settings_that_it_uses(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """It falls back to nothing of a development machine."""
    ended = command(*(word.format(tmp=tmp_path) for word in words), APP_ENV="production")
    assert (ended.returncode, says in ended.stderr) == (2, True), ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_help() -> None:
    """`--help` names every command without importing any of them."""
    shown = command("--help").stdout
    for name in ("up", "serve", "work", "migrate", "sandbox", "test", "check", "doctor"):
        assert f"\n    {name} " in shown


class Answer(SilentHandler):
    """Answers readiness as a process does."""

    reasons: tuple[str, ...] = ()

    def do_GET(self) -> None:
        """Answer 200 or 503."""
        self.send_response(503 if self.reasons else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"reasons": self.reasons}).encode())


@pytest.fixture
def port() -> Iterator[int]:
    """A process that is ready."""
    with handling(Answer) as server:
        yield server.server_port


@pytest.mark.parametrize(
    ("role", "variable"),
    [("serve", "PORT"), ("serve", "METRICS_PORT"), ("work", "METRICS_PORT"), ("sandbox", "SANDBOX_PORT")],
)
def test_a_ready_process_is_healthy(
    role: str, variable: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each role is asked on its own port."""
    monkeypatch.delenv("METRICS_PORT", raising=False)
    monkeypatch.setenv(variable, str(port))
    assert health.main([role]) == 0


def test_the_reasons_are_printed(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker inspect` shows them."""
    monkeypatch.setattr(Answer, "reasons", ("clock_off", "stopping"))
    monkeypatch.setenv("METRICS_PORT", str(port))
    assert health.main(["work"]) == 1
    assert capsys.readouterr().out == "clock_off, stopping\n"


def test_nobody_listening_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs while it starts, or a worker that cannot be asked."""
    monkeypatch.setenv("METRICS_PORT", "1")
    assert health.main(["serve"]) == 1
    monkeypatch.delenv("METRICS_PORT")
    assert health.main(["work"]) == 1


@pytest.mark.parametrize("line", ['METRICS_PORT="{}"', "export METRICS_PORT={}", "METRICS_PORT={} # metrics"])
def test_the_env_file_is_read_as_the_process_reads_it(
    line: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local process has its settings in `.env`, which python-dotenv reads."""
    monkeypatch.setattr(health, "ROOT", tmp_path)
    monkeypatch.delenv("METRICS_PORT", raising=False)
    (tmp_path / ".env").write_text(line.format(port) + "\n")
    assert health.main(["work"]) == 0


def test_a_port_that_is_no_number_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker inspect` shows it in place of a traceback."""
    monkeypatch.setenv("METRICS_PORT", "metrics")
    assert health.main(["work"]) == 1
    assert capsys.readouterr().out == "the port of work is not a number\n"


@pytest.mark.parametrize(
    ("lines", "role"),
    [
        (
            [["/sbin/docker-init", "--", "python", "-m", "app", "work"], ["python", "-m", "app", "health"]],
            "work",
        ),
        ([["python", "-m", "app", "sandbox", ""]], "sandbox"),
        ([["python", "-m", "app", "migrate"]], "migrate"),
        ([["python", "-m", "app", "health"], ["sh"]], "serve"),
        ([["python", "-m", "app", ""], ["python", "-m", "app", "sandbox", ""]], "serve"),
        ([["python", "-m", "app", "up", ""]], "serve"),
        ([["systemd"], ["python", "-m", "app", "test", ""], ["python", "-m", "app", "up", ""]], "serve"),
        ([["systemd"], ["python", "-m", "app", "test", ""]], "serve"),
        ([], "serve"),
    ],
)
def test_the_role_is_that_of_the_running_process(lines: list[list[str]], role: str) -> None:
    """The image has one health check for all roles."""
    assert health.running_role(lines) == role


def test_a_command_that_ends_by_itself_is_healthy() -> None:
    """An orchestrator must not kill a migration that runs for a minute."""
    assert health.problem_of("migrate", {}) is None


@pytest.fixture
def run(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command on the test's database; return exit code, output and errors."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    async def command(*words: str) -> tuple[int, str, str]:
        return (await asyncio.to_thread(cli.main, list(words))), *capsys.readouterr()

    return command


async def test_commands_act_for_the_organisation_in_the_option(
    run: Run, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    """What they create in one, the others do not see."""
    await owner.execute("INSERT INTO organisations (id, name) VALUES ('acme', 'Acme')")
    configuration, acting = tmp_path / "file.yaml", ("--organisation", "acme")
    configuration.write_text(file(acme()))
    assert await run("keys", "list", *acting) == (0, "This organisation has no keys.\n", "")
    assert (await run("keys", "create", "of acme", "replay", *acting))[0] == 0
    assert (await run("apply", str(configuration), *acting))[0] == 0
    for words, part in ((("keys", "list"), "of acme"), (("export",), "advertiser_id")):
        assert part in (await run(*words, *acting))[1]
        assert part not in (await run(*words))[1]
    assert (await run("plan", str(configuration), *acting))[0] == 0
    assert (await run("plan", str(configuration)))[0] == 2
    _, exported, _ = await run("export", *acting)
    destination = next(word for word in exported.split() if word.startswith("dst_"))
    assert (await run("replay", destination, "--dry-run", *acting))[0] == 0
    assert (await run("replay", destination, "--dry-run", "--since", "0002-01-01", *acting))[0] == 0
    code, _, errors = await run("replay", destination, "--dry-run")
    assert (code, "does not exist" in errors) == (1, True)


async def test_a_configuration_is_utf_8_in_every_locale(run: Run, tmp_path: Path) -> None:
    """It was read and written in the encoding of the locale, and a name without one ended in a traceback."""
    name = "Café 東京"
    content = yaml.safe_dump(yaml.safe_load(file(acme(name=name))), allow_unicode=True).encode()
    configuration = tmp_path / "file.yaml"
    configuration.write_bytes(content)
    ascii_locale = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    in_ascii = partial(program, "-m", "app", input=content, text=False, env=ascii_locale)

    applied = await asyncio.to_thread(in_ascii, "apply", str(configuration))
    assert (applied.returncode, applied.stderr) == (0, b"")
    assert rb"destination Caf\xe9 \u6771\u4eac (new)" in applied.stdout
    planned = await asyncio.to_thread(in_ascii, "plan", "-")
    assert (planned.returncode, planned.stdout, planned.stderr) == (0, b"No differences.\n", b"")
    exported = await asyncio.to_thread(in_ascii, "export")
    assert (exported.returncode, exported.stderr) == (0, b"")
    assert f"name: {name}\n" in exported.stdout.decode()
    configuration.write_bytes("name: Café".encode("latin-1"))
    code, out, errors = await run("plan", str(configuration))
    assert (code, out) == (1, "")
    assert errors == f"{configuration}: The file is not UTF-8.\nNothing was changed.\n"


@pytest.mark.parametrize("name", [" ", "a" * 201, "ada@example.com", "a\u202eb"])
async def test_a_key_gets_no_name_that_the_api_would_refuse(run: Run, name: str) -> None:
    """A name of 201 characters ended in a traceback."""
    code, out, errors = await run("keys", "create", name, "replay")
    assert (code, out) == (2, "")
    assert errors.startswith("The name is blank, has more than 200 characters, or holds ")


@pytest.mark.parametrize("organisation", ["nowhere", "*", ""])
async def test_an_unknown_organisation_is_refused(run: Run, organisation: str) -> None:
    """Also the name with which the service acts for all of them."""
    for words in (("keys", "list"), ("export",), ("replay", "dst_1")):
        code, out, errors = await run(*words, "--organisation", organisation)
        assert (code, out, "does not exist. Nothing was changed." in errors) == (1, "", True), words
