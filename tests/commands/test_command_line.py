"""The command line fails in one sentence, and with the exit code that scripts rely on."""

import base64
import hashlib
import os
import subprocess

import pytest

from tests.pipeline import fork_server

pytestmark = pytest.mark.process

KEY = "k1:" + base64.b64encode(hashlib.sha256(b"a key of this test").digest()).decode()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(words, {**os.environ, **environment})


def test_wrong_settings_end_with_2_and_no_traceback() -> None:
    """One run reports every problem, without a value and without a traceback."""
    ended = command("migrate", PORT="x", DATABASE_URL="postgresql://app:hunter2@")
    assert ended.returncode == 2
    assert "PORT: " in ended.stderr
    assert "DATABASE_URL: " in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_word_ends_with_2() -> None:
    """A typing mistake is not taken for something else."""
    assert command("migrate", "--hurry").returncode == 2
    assert command("fly").returncode == 2


def test_a_plan_ends_with_2_on_wrong_arguments_and_with_1_on_wrong_settings() -> None:
    """As every command; but what depends on the machine must not look like a difference."""
    for words in (("plan",), ("plan", "f.yaml", "--max-loss", "1"), ("plan", "f.yaml", "more")):
        assert command(*words).returncode == 2, words
    assert command("plan", "f.yaml", PORT="x").returncode == 1
    assert command("plan", "--help").returncode == 0


def test_a_head_that_is_no_hash_is_a_mistake_and_no_finding() -> None:
    """The output does not mention the audit."""
    ended = command("audit", "verify", "--head", "abc")
    assert ended.returncode == 2
    assert "64 hexadecimal digits" in ended.stderr
    assert "chain" not in ended.stdout + ended.stderr


def test_a_reason_that_does_not_exist_is_a_mistake_and_not_an_empty_replay() -> None:
    """As in the API; a misspelt reason would match no event and end with 0."""
    ended = command("replay", "dst_1", "--reason", "gaveup")
    assert ended.returncode == 2
    assert "--reason" in ended.stderr


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


def test_doctor_says_so_when_there_is_no_database() -> None:
    """An address without a server is a finding, not a traceback, and shows no password."""
    ended = command("doctor", DATABASE_URL="postgresql://app:hunter2@127.0.0.1:1/none")
    assert ended.returncode == 1
    assert "cannot be reached" in ended.stdout
    assert "hunter2" not in ended.stdout + ended.stderr


def test_every_command_has_help() -> None:
    """`--help` names every command without importing any of them."""
    shown = command("--help").stdout
    for name in ("up", "serve", "work", "migrate", "sandbox", "test", "check", "doctor"):
        assert f"\n    {name} " in shown
