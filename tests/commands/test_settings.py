"""A wrong setting is named with what is wrong, and never shown."""

import base64
import hashlib
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app.settings import Settings, SettingsError, read_settings, secret_settings
from dev.environment import as_environment, with_sandbox
from tests.tables import cases

KEY = base64.b64encode(hashlib.sha256(b"test").digest()).decode()
COUNTED = base64.b64encode(bytes(range(32))).decode()
NO_FILE = Path("/nonexistent/.env")
GOOD_PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgresql+asyncpg://app:hunter2@db/conversions",
    "ENCRYPTION_KEYS": f"k1:{KEY}",
    "PUBLIC_URL": "https://events.example.com",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any setting."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)


def problems(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> tuple[str, ...]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings(NO_FILE)
    return raised.value.problems


@cases(
    ("name", "value", "says"),
    {
        "a port is a number": ("PORT", "eighty", "valid integer"),
        "a port is at most 65535": ("PORT", "70000", "65535"),
        "only Postgres": ("DATABASE_URL", "mysql://app:hunter2@db/x", "must look like"),
        "a database is named": ("DATABASE_URL", "postgresql://app:hunter2@db", "must look like"),
        "a certificate that is not there": (
            "DATABASE_URL",
            "postgresql://app:hunter2@db/x?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem",
            "sslrootcert names a file that cannot be read",
        ),
        "a port of a database": ("DATABASE_URL", "postgresql://app:hunter2@db:x/y", "port"),
        "a port of a standby": ("DATABASE_URL", "postgresql://app:p@db:1,b:99999/y", "port"),
        "a slash in a password": ("DATABASE_URL", "postgresql://app:hunt/er2@db/y", "port"),
        "a host without an end": ("DATABASE_URL", "postgresql://app:hunter2@[::1/y", "host"),
        "a port of a proxy": ("OUTBOUND_PROXY", "http://app:hunter2@proxy:99999", "port"),
        "a proxy without TLS": ("OUTBOUND_PROXY", "https://hunter2:3128", "OUTBOUND_PROXY: must "),
        "a proxy has a scheme": ("OUTBOUND_PROXY", "hunter2:3128", "OUTBOUND_PROXY: must "),
        "a proxy has no path": ("OUTBOUND_PROXY", "http://proxy:3128/hunter2", "OUTBOUND_PROXY: must "),
        "authorities that are not there": ("OUTBOUND_CA_FILE", "/hunter2", "OUTBOUND_CA_FILE: must "),
        "a file without authorities": ("OUTBOUND_CA_FILE", "/etc/passwd", "OUTBOUND_CA_FILE: must "),
        "a port of a web address": ("AMAZON_BASE_URL", "http://stand-in:hunter2", "port"),
        "a port of a webhook": ("NOTIFY_WEBHOOKS", "ops=https://a:hunter2/", "entry 1 has"),
        "a port of a mail server": ("SMTP_URL", "smtp://app:hunter2@mail:x", "port"),
        "a key has an id": ("ENCRYPTION_KEYS", "hunter2", "entry 1 must look like"),
        "a key is base64": ("ENCRYPTION_KEYS", "k1:hunter2!", "not base64"),
        "a key has 32 bytes": ("ENCRYPTION_KEYS", "k1:aHVudGVyMg==", "32 bytes"),
        "ids are unique": ("ENCRYPTION_KEYS", f"k1:{KEY},k1:{KEY}", "same id"),
        "an admin key is long": ("BOOTSTRAP_ADMIN_KEY", "hunter2", "32 to 1,024"),
        "an admin key is ASCII": ("BOOTSTRAP_ADMIN_KEY", "hunter2" + "ü" * 32, "ASCII"),
        "an admin key fits a header": ("BOOTSTRAP_ADMIN_KEY", "hunter2" * 147, "32 to 1,024"),
        "an admin key has no blank at its end": ("BOOTSTRAP_ADMIN_KEY", "hunter2" * 6 + " ", "blank"),
        "a sender is a mail address": ("SMTP_FROM", "hunter2", "SMTP_FROM: must be a mail address"),
        "a public address is a web address": ("PUBLIC_URL", "ftp://hunter2", "http"),
        "a stand-in's address is plain": ("AMAZON_BASE_URL", "http://app:hunter2@x", "plain"),
        "a consent string needs a purpose": ("TCF_PURPOSES", ",", "at least 1 item"),
        "purposes are 1 to 24": ("TCF_PURPOSES", "1,99", "less than or equal to 24"),
        "ages are at most 21 days": ("WARN_EVENT_AGE_DAYS", "22", "less than or equal to 21"),
        "a warning comes before the end": (
            "MAX_EVENT_AGE_DAYS",
            "3",
            "WARN_EVENT_AGE_DAYS: is 7 and must not exceed MAX_EVENT_AGE_DAYS: set it to 3 or less.",
        ),
        "a hanging advertiser leaves some": ("MAX_REQUESTS_IN_FLIGHT", "3", "or equal to 4"),
        "two listeners need two ports": ("SANDBOX_PORT", "8000", "differ"),
        "there are two environments": ("APP_ENV", "staging", "development"),
    },
)
def test_a_wrong_value_is_reported_by_name_only(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """One sentence, with the variable and what is wrong; the value stays out of it."""
    (problem,) = problems(monkeypatch, {name: value})
    assert says in problem
    assert "hunter2" not in problem
    assert KEY not in problem


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL: is required"),
        ({"ENCRYPTION_KEYS": ""}, "ENCRYPTION_KEYS: is required"),
        ({"PUBLIC_URL": "http://events.example.com"}, "PUBLIC_URL: must be https"),
        ({"AMAZON_BASE_URL": "http://stand-in.example.com"}, "AMAZON_BASE_URL: replaces Amazon"),
        (
            {
                "STATUS_CALLBACK_URL": "http://journeys.example.com/status",
                "STATUS_CALLBACK_SECRETS": f"whsec_{KEY}",
            },
            "STATUS_CALLBACK_URL: must be https",
        ),
        ({"STATUS_CALLBACK_URL": "https://journeys.example.com"}, "STATUS_CALLBACK_SECRETS: must be set"),
        ({"ENCRYPTION_KEYS": f"k1:{KEY},k2:{'A' * 43}="}, "ENCRYPTION_KEYS: k2"),
        ({"ENCRYPTION_KEYS": f"k1:{KEY},k3:{COUNTED}"}, "ENCRYPTION_KEYS: k3"),
        ({"BOOTSTRAP_ADMIN_KEY": "abcdefghi" * 8}, "BOOTSTRAP_ADMIN_KEY: must have"),
        ({"BOOTSTRAP_ADMIN_KEY": "change-me-please-change-me-please1"}, "BOOTSTRAP_ADMIN_KEY: must have"),
        ({"METRICS_PORT": "7999"}, "METRICS_PORT: each process uses"),
        (
            {"NOTIFY_WEBHOOKS": "ops=https://hooks.example.com/a", "NOTIFY_SECRETS": f"ops@acme=whsec_{KEY}"},
            "NOTIFY_SECRETS: no webhook has the name ops@acme.",
        ),
    ],
)
def test_production_refuses_what_only_a_developer_may_do(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str], says: str
) -> None:
    """Each of the rules of production refuses without the others."""
    (problem,) = problems(monkeypatch, GOOD_PRODUCTION | change)
    assert problem.startswith(says)


def test_everything_wrong_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be read does not hide a rule about other settings."""
    wrong = {"PORT": "http", "PUBLIC_URL": "http://events.example.com", "ENCRYPTION_KEYS": "k1"}
    found = problems(monkeypatch, GOOD_PRODUCTION | wrong)
    assert sorted(each.partition(":")[0] for each in found) == ["ENCRYPTION_KEYS", "PORT", "PUBLIC_URL"]


def test_good_production_settings_are_accepted_and_hide_their_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No secret stands in the text of the settings."""
    for name, value in GOOD_PRODUCTION.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(NO_FILE)
    assert settings.production
    assert [key.id for key in settings.named_keys] == ["k1"]
    assert "hunter2" not in repr(settings)
    assert KEY not in repr(settings)


def test_an_address_of_plain_postgres_is_read_for_the_driver_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """`postgres://`, as platforms hand it out, works too."""
    monkeypatch.setenv("DATABASE_URL", "postgres://app:hunter2@db/conversions")
    found = read_settings(NO_FILE).database_url
    assert found is not None
    assert found.get_secret_value() == "postgresql+asyncpg://app:hunter2@db/conversions"


def test_the_public_address_follows_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving the listener moves the address that Amazon sends browsers back to."""
    monkeypatch.setenv("PORT", "9000")
    assert read_settings(NO_FILE).public_url == "http://localhost:9000"


def test_a_stand_in_needs_no_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A development machine fills in a client for the address that the operator set."""
    monkeypatch.setenv("AMAZON_BASE_URL", "http://127.0.0.1:9009")
    settings = with_sandbox(read_settings(NO_FILE))
    assert settings.amazon_base_url == "http://127.0.0.1:9009"
    assert settings.amazon_client_id
    assert settings.amazon_client_secret is not None
    monkeypatch.setenv("AMAZON_CLIENT_ID", "chosen")
    assert with_sandbox(read_settings(NO_FILE)).amazon_client_id == "chosen"


def test_a_webhook_and_a_mail_channel_may_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the interface's own example does."""
    monkeypatch.setenv("NOTIFY_WEBHOOKS", "ops=http://127.0.0.1:9101/hook")
    monkeypatch.setenv("NOTIFY_EMAILS", "ops=a@example.com|b@example.com")
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:2525")
    monkeypatch.setenv("SMTP_FROM", "ops@example.com")
    channels = read_settings(NO_FILE).notification_channels
    assert [(each.name, each.type) for each in channels] == [("ops", "webhook"), ("ops", "email")]
    assert len({each.key for each in channels}) == 2


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` fills in what the environment leaves out, and a blank value counts as left out."""
    (tmp_path / ".env").write_text("PORT=9000\nSANDBOX_PORT=9001\nAMAZON_BASE_URL=\n")
    monkeypatch.setenv("PORT", "9005")
    settings = read_settings(tmp_path / ".env")
    assert (settings.port, settings.sandbox_port, settings.amazon_base_url) == (9005, 9001, None)


def test_each_database_url_defaults_to_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's alone serves everything; with all three each process has its own."""
    urls = {name: f"postgresql+asyncpg://{name}:x@db/c" for name in ("owner", "api", "worker")}

    def found() -> list[str]:
        settings = read_settings(NO_FILE)
        return [settings.database_for(role) for role in ("owner", "api", "worker")]

    monkeypatch.setenv("MIGRATION_DATABASE_URL", urls["owner"])
    assert found() == [urls["owner"]] * 3
    monkeypatch.setenv("DATABASE_URL", urls["api"])
    assert found() == [urls["owner"], urls["api"], urls["api"]]
    monkeypatch.setenv("WORKER_DATABASE_URL", urls["worker"])
    monkeypatch.delenv("MIGRATION_DATABASE_URL")
    assert found() == [urls["api"], urls["api"], urls["worker"]]


def test_backups_use_their_own_role_or_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the API's role, if the owner's is known."""
    for name, variable in (
        ("api", "DATABASE_URL"),
        ("owner", "MIGRATION_DATABASE_URL"),
        ("b", "BACKUP_DATABASE_URL"),
    ):
        url = f"postgresql+asyncpg://{name}:x@db/c"
        monkeypatch.setenv(variable, url)
        assert read_settings(NO_FILE).database_for("backup") == url


def test_production_has_other_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its API waits for a load balancer before it stops, and publishes neither metrics nor API reference."""
    assert read_settings(NO_FILE).shutdown_delay_seconds == 0
    assert read_settings(NO_FILE).publish_metrics_and_docs
    for name, value in GOOD_PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert read_settings(NO_FILE).shutdown_delay_seconds == 5
    assert not read_settings(NO_FILE).publish_metrics_and_docs
    monkeypatch.setenv("SHUTDOWN_DELAY_SECONDS", "0")
    assert read_settings(NO_FILE).shutdown_delay_seconds == 0


EVERY_SETTING = dotenv_values(Path(__file__).with_name("every_setting.env"), interpolate=False)


def test_a_child_process_reads_the_settings_of_its_launcher(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every setting, with a value other than its default, passes through the environment unchanged."""
    usual = read_settings(NO_FILE)
    # OpenSSL ignores what is between the certificates, such as names in any encoding.
    (tmp_path / "ca.pem").write_bytes("Zürich\n-----BEGIN CERTIFICATE-----".encode("latin-1"))
    monkeypatch.setitem(EVERY_SETTING, "OUTBOUND_CA_FILE", str(tmp_path / "ca.pem"))
    for name, field in Settings.model_fields.items():
        other = str(field.default - 1) if type(field.default) is int else ""
        monkeypatch.setenv(name.upper(), EVERY_SETTING.get(name.upper(), other))
    monkeypatch.delenv("SMTP_FROM")
    (tmp_path / "from").write_text(EVERY_SETTING["SMTP_FROM"], "utf-8-sig")
    monkeypatch.setenv("SMTP_FROM_FILE", str(tmp_path / "from"))
    settings = read_settings(NO_FILE)
    names = Settings.model_fields
    assert [name for name in names if getattr(settings, name) == getattr(usual, name)] == ["app_env"]
    assert settings.oidc_roles[0] == ("admin", "CN=Ads,OU=Leads 100%")
    environment = as_environment(settings)
    assert "SMTP_FROM_FILE" not in environment
    for name in names:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SMTP_FROM_FILE")
    assert read_settings(NO_FILE) == settings


SECRETS = {
    "database_url": "postgresql+asyncpg://app:hunter2@db/conversions",
    "encryption_keys": f"k1:{KEY}",
    "bootstrap_admin_key": "bootstrap-key-of-thirty-two-letters",
    "amazon_client_secret": "amazon-secret",
}


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
