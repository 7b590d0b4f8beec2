"""A secret setting can be read from a file: `NAME_FILE`."""

from pathlib import Path

import pytest

from app.settings import SettingsError, read_settings, secret_settings
from tests.commands.test_settings import KEY, NO_FILE, bare

SECRETS = {
    "database_url": "postgresql+asyncpg://app:hunter2@db/conversions",
    "encryption_keys": f"k1:{KEY}",
    "bootstrap_admin_key": "bootstrap-key-of-thirty-two-letters",
    "amazon_client_secret": "amazon-secret",
}

__all__ = ["bare"]  # its fixture


def test_the_secret_settings_are_found_by_their_type() -> None:
    """A new secret setting can be read from a file without another line of code."""
    assert {*SECRETS, "status_callback_secrets"} <= set(secret_settings())
    assert "public_url" not in secret_settings()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_read_from_its_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line end that an editor adds is no part of it."""
    file = tmp_path / "secret"
    file.write_text(SECRETS[name] + "\n")
    monkeypatch.setenv(f"{name.upper()}_FILE", str(file))
    value = getattr(read_settings(NO_FILE), name)
    assert value.get_secret_value() == SECRETS[name]
    assert SECRETS[name] not in repr(value)


def test_the_env_file_may_name_files(tmp_path: Path) -> None:
    """`.env` and the environment mean the same."""
    (tmp_path / "key").write_text(SECRETS["bootstrap_admin_key"])
    (tmp_path / ".env").write_text(f"BOOTSTRAP_ADMIN_KEY_FILE={tmp_path / 'key'}\n")
    key = read_settings(tmp_path / ".env").bootstrap_admin_key
    assert key is not None
    assert key.get_secret_value() == SECRETS["bootstrap_admin_key"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "ENCRYPTION_KEYS_FILE: the file cannot be read (FileNotFoundError)."),
        ("\n", "ENCRYPTION_KEYS_FILE: the file is empty."),
        ("not-a-key", "ENCRYPTION_KEYS: entry 1 must look like id:base64key"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    content: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the setting, and shows neither the path nor the content."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("ENCRYPTION_KEYS_FILE", str(file))
    with pytest.raises(SettingsError) as raised:
        read_settings(NO_FILE)
    [problem] = raised.value.problems
    assert problem.startswith(sentence)
    assert str(tmp_path) not in problem


def test_a_secret_must_not_be_set_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one holds would be a guess."""
    monkeypatch.setenv("ENCRYPTION_KEYS", SECRETS["encryption_keys"])
    monkeypatch.setenv("ENCRYPTION_KEYS_FILE", str(tmp_path / "keys"))
    with pytest.raises(SettingsError, match="ENCRYPTION_KEYS_FILE: must not be set together"):
        read_settings(NO_FILE)


def test_the_environment_takes_precedence_over_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for every other setting; `./run` hands secrets to its processes by value."""
    (tmp_path / ".env").write_text("ENCRYPTION_KEYS_FILE=/nonexistent\n")
    monkeypatch.setenv("ENCRYPTION_KEYS", SECRETS["encryption_keys"])
    assert [key.id for key in read_settings(tmp_path / ".env").named_keys] == ["k1"]
