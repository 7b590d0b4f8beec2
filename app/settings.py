"""Settings from the environment. A process reads them once at its start and passes them down.

Each field is an environment variable of the same name in capitals. An error names the variable and the
problem but never the value, because a database URL contains a password.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, model_validator

from app import setting_types as types
from app.crypto import NamedKey
from app.domain.admission import MIB
from app.domain.callback import read_secrets
from app.domain.notifications import Channel, MailServer, read_emails, read_mail_server, read_webhooks
from app.domain.pacing.order import MIN_IN_FLIGHT
from app.domain.weak_secrets import MIN_CHARACTERS, MIN_LENGTH, is_weak_key, is_weak_password

ROOT = Path(__file__).resolve().parent.parent
# What production requires of a process that uses the database and the keys.
REQUIRED = ("database_url", "encryption_keys", "public_url")


class SettingsError(Exception):
    """The settings are invalid. Each of `problems` is a sentence that begins with the variable's name."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Settings(BaseModel):
    """The settings of the service and its commands. `.env.example` explains each."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True, hide_input_in_errors=True)

    app_env: Literal["development", "production"] = "development"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Addresses, database, processes
    host: str = "127.0.0.1"
    port: types.PortNumber = 8000
    sandbox_port: types.PortNumber = 8001
    metrics_port: types.PortNumber | None = None
    metrics_per_destination: bool = False
    # In production only the monitoring port has metrics.
    publish_metrics_and_docs: bool = Field(default_factory=lambda known: known.get("app_env") != "production")
    otlp_endpoint: types.WebAddress | None = None
    otlp_sample_percent: int = Field(default=1, ge=0, le=100)
    public_url: types.WebAddress = Field(
        default_factory=lambda known: f"http://localhost:{known.get('port', 8000)}"
    )
    data_dir: Path = ROOT / ".data"
    # One URL for each database role; see `database_for`.
    migration_database_url: types.DatabaseUrl | None = None
    database_url: types.DatabaseUrl | None = Field(
        default_factory=lambda known: known.get("migration_database_url")
    )
    worker_database_url: types.DatabaseUrl | None = None
    backup_database_url: types.DatabaseUrl | None = None
    api_processes: types.Count = 1
    worker_processes: types.Count = 1

    # Secrets
    encryption_keys: types.EncryptionKeys | None = None
    bootstrap_admin_key: types.AdminKey | None = None

    # Amazon
    amazon_client_id: str | None = None
    amazon_client_secret: SecretStr | None = None
    amazon_base_url: types.WebAddress | None = None

    # The network of the operator: its proxy and its certificate authority
    outbound_proxy: types.ProxyUrl | None = None
    outbound_direct_hosts: str = ""
    outbound_ca_file: types.CertificateFile | None = None

    # Status callbacks to the journey engine
    status_callback_url: types.WebAddress | None = None
    status_callback_secrets: types.CallbackSecrets | None = None

    # Console sign-in through OpenID Connect
    oidc_issuer: types.WebAddress | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_role_claim: str = "groups"
    oidc_roles: types.RoleGroups = ()
    oidc_organisation_claim: str | None = None
    console_key_sign_in: bool = True
    # Incidents: notification channels and the mail server
    notify_webhooks: types.WebhookChannels | None = None
    notify_secrets: SecretStr | None = None
    notify_emails: types.MailChannels | None = None
    smtp_url: types.MailServerUrl | None = None
    smtp_from: SecretStr | None = None

    # Consent: vendor and purposes required in a TCF string
    tcf_vendor_id: int = Field(default=793, ge=1, le=65_535)
    tcf_purposes: types.Purposes = (1, 7)

    # Age of an event: older events are rejected, or get a warning
    max_event_age_days: int = Field(default=21, ge=1, le=21)
    warn_event_age_days: int = Field(default=7, ge=1, le=21)

    # Batching and concurrency
    flush_wait_ms: int = Field(default=3, ge=0, le=100)
    merge_window_ms: int = Field(default=200, ge=0, le=10_000)
    max_requests_in_flight: int = Field(default=32, ge=MIN_IN_FLIGHT, le=256)

    # Admission control
    target_latency_ms: int = Field(default=3_000, ge=100, le=60_000)
    max_body_bytes_in_flight: int = Field(default=24 * MIB, ge=5 * MIB, le=1_024 * MIB)
    api_memory_bytes: int = Field(default=192 * MIB, ge=128 * MIB, le=65_536 * MIB)

    # Connections and shutdown
    max_connections: int = Field(default=900, ge=10, le=100_000)
    header_read_timeout_seconds: int = Field(default=10, ge=1, le=300)
    body_read_timeout_seconds: int = Field(default=30, ge=1, le=600)
    body_min_bytes_per_second: int = Field(default=1_024, ge=0, le=1_048_576)
    keep_alive_seconds: int = Field(default=75, ge=1, le=3_600)
    # In development no load balancer has to notice that a process stops.
    shutdown_delay_seconds: int = Field(
        default_factory=lambda known: 5 if known.get("app_env") == "production" else 0, ge=0, le=60
    )

    # Retention
    batch_retention_days: int = Field(default=30, ge=22, le=365)
    incident_retention_days: int = Field(default=90, ge=1, le=3_650)
    rejection_retention_days: int = Field(default=7, ge=1, le=365)
    data_key_retention_hours: int = Field(default=24, ge=1, le=24 * 30)

    @model_validator(mode="after")
    def _fit_together(self, info: ValidationInfo) -> "Settings":
        required = REQUIRED if info.context is None else info.context
        if problems := list(_contradictions(self, required)):
            raise ValueError("\n".join(problems))
        return self

    @property
    def production(self) -> bool:
        return self.app_env == "production"

    def database_for(self, role: types.DatabaseRole) -> str:
        """Return the database URL of a process with this role. Raises ValueError if unset.

        The default is the URL of the API. The default for backups is the URL of the tables' owner.
        """
        own = {
            "owner": self.migration_database_url,
            "worker": self.worker_database_url,
            "backup": self.backup_database_url or self.migration_database_url,
        }
        url = own.get(role) or self.database_url
        if url is None:
            raise ValueError("DATABASE_URL is unset")
        return url.get_secret_value()

    @property
    def is_complete(self) -> bool:
        """Whether the settings suffice without the defaults of a development machine."""
        needed = (self.database_url, self.encryption_keys, self.bootstrap_admin_key, self.amazon_client_id)
        return self.production or None not in needed

    def local_url(self, port: int) -> str:
        """Return the URL at which a process on this machine reaches one of our ports."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", "localhost"} else self.host  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def callback_secrets(self) -> tuple[bytes, ...]:
        """The secrets that sign status callbacks; empty if unset."""
        secrets = self.status_callback_secrets
        return () if secrets is None else read_secrets(secrets.get_secret_value())

    @property
    def notification_channels(self) -> tuple[Channel, ...]:
        """The notification channels. Raises ValueError; its text contains no value."""
        webhooks = read_webhooks(_plain(self.notify_webhooks), _plain(self.notify_secrets))
        return webhooks + read_emails(_plain(self.notify_emails))

    @property
    def mail_server(self) -> MailServer | None:
        """The SMTP server; None if unset."""
        return None if self.smtp_url is None else read_mail_server(self.smtp_url.get_secret_value())

    @property
    def named_keys(self) -> tuple[NamedKey, ...]:
        """The encryption keys, the active one first; empty if unset."""
        return types.named_keys(self.encryption_keys.get_secret_value()) if self.encryption_keys else ()


def _plain(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def weak_key_ids(keys: Iterable[NamedKey]) -> list[str]:
    """Return the ids of the encryption keys that are evidently not random."""
    return [key.id for key in keys if is_weak_key(key.key)]


def read_settings(env_file: Path = ROOT / ".env", *, required: Collection[str] = REQUIRED) -> Settings:
    """Read the settings from the environment, and unset or empty ones from `.env`. Raises SettingsError.

    The variable `NAME_FILE` names a file with the value of the secret setting `NAME`. `required` are those of
    REQUIRED that production must set.
    """
    sources = (os.environ, dotenv_values(env_file))
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        if text := next(filter(None, (each.get(name.upper()) for each in sources)), None):
            values[name] = text
    values |= _secrets_from_files(sources)
    try:
        return Settings.model_validate(values, context=required)
    except ValidationError as error:
        problems = [*_sentences(error)]
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
    if wrong:
        # The rules for several settings were not checked: check them with the defaults of the wrong settings.
        values = {name: value for name, value in values.items() if name not in wrong}
        try:
            Settings.model_validate(values, context=required)
        except ValidationError as error:
            problems += [each for each in _sentences(error) if each.partition(":")[0].lower() not in wrong]
    raise SettingsError(problems)


def secret_settings() -> tuple[str, ...]:
    """Return the names of the secret settings. The value of each can be in a file, named by `NAME_FILE`."""
    return tuple(
        name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
    )


def _secrets_from_files(sources: Iterable[Mapping[str, str | None]]) -> dict[str, str]:
    """Read the secrets that are in files. Raises SettingsError.

    For each secret, the first source that sets `NAME` or `NAME_FILE` counts.
    """
    secrets, problems = {}, []
    for name in secret_settings():
        variable, file_variable = name.upper(), f"{name.upper()}_FILE"
        source = next((each for each in sources if each.get(variable) or each.get(file_variable)), {})
        path = source.get(file_variable)
        if not path:
            continue
        if source.get(variable):
            problems.append(f"{file_variable}: must not be set together with {variable}.")
            continue
        try:
            secrets[name] = Path(path).read_text("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{file_variable}: the file cannot be read ({type(error).__name__}).")
            continue
        if not secrets[name]:
            problems.append(f"{file_variable}: the file is empty.")
    if problems:
        raise SettingsError(problems)
    return secrets


def _sentences(error: ValidationError) -> Iterable[str]:
    """Yield a sentence for each problem, without the value."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        if problem["type"] == "default_factory_not_called":
            continue  # a default that depends on an invalid setting
        text = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield from text.split("\n")
        else:
            yield f"{str(problem['loc'][0]).upper()}: {text}."


def _notification_problems(settings: Settings) -> Iterable[str]:
    try:
        channels = settings.notification_channels
    except ValueError as error:
        yield f"NOTIFY_SECRETS: {error}."
        return
    if settings.notify_emails is not None and (settings.smtp_url is None or settings.smtp_from is None):
        yield "NOTIFY_EMAILS: needs SMTP_URL and SMTP_FROM."
    if settings.smtp_from is not None and "@" not in _plain(settings.smtp_from):
        yield "SMTP_FROM: must be a mail address."
    plain = [channel.name for channel in channels if channel.addresses[0].startswith("http://")]
    if settings.production and plain:
        yield f"NOTIFY_WEBHOOKS: {', '.join(plain)}: must be https:// when APP_ENV is production."


def _contradictions(settings: Settings, required: Collection[str]) -> Iterable[str]:
    if settings.warn_event_age_days > settings.max_event_age_days:
        yield (
            f"WARN_EVENT_AGE_DAYS: is {settings.warn_event_age_days} and must not exceed MAX_EVENT_AGE_DAYS: "
            f"set it to {settings.max_event_age_days} or less."
        )
    if settings.port == settings.sandbox_port:
        yield "SANDBOX_PORT: must differ from PORT."
    if settings.metrics_port is not None:
        ports = range(
            settings.metrics_port, settings.metrics_port + settings.api_processes + settings.worker_processes
        )
        if ports[-1] > 65_535 or settings.port in ports or settings.sandbox_port in ports:
            yield (
                "METRICS_PORT: each process uses one port, counting from this one; "
                "PORT and SANDBOX_PORT must not be among them."
            )
    if (settings.status_callback_url is None) is not (settings.status_callback_secrets is None):
        yield "STATUS_CALLBACK_SECRETS: must be set together with STATUS_CALLBACK_URL."
    if (settings.oidc_issuer is None) is not (settings.oidc_client_id is None):
        yield "OIDC_CLIENT_ID: must be set together with OIDC_ISSUER."
    if settings.oidc_issuer is not None and not settings.oidc_roles:
        yield "OIDC_ROLES: is required with OIDC_ISSUER; without it no person has a role."
    if not settings.console_key_sign_in and settings.oidc_issuer is None:
        yield "CONSOLE_KEY_SIGN_IN: false needs OIDC_ISSUER; else no one can sign in."
    yield from _notification_problems(settings)
    if not settings.production:
        return
    for name in ("oidc_issuer", "status_callback_url"):
        if not (getattr(settings, name) or "https://").startswith("https://"):
            yield f"{name.upper()}: must be https:// when APP_ENV is production."
    for name in required:
        if getattr(settings, name) is None:
            yield f"{name.upper()}: is required when APP_ENV is production."
    if weak := weak_key_ids(settings.named_keys):
        yield (
            f"ENCRYPTION_KEYS: {', '.join(weak)}: not random (repeated, counted or written by hand); "
            "create a key with `openssl rand -base64 32`."
        )
    if settings.bootstrap_admin_key is not None and is_weak_password(_plain(settings.bootstrap_admin_key)):
        yield (
            f"BOOTSTRAP_ADMIN_KEY: must have {MIN_LENGTH} characters or more, at least {MIN_CHARACTERS} "
            "distinct ones besides words such as `password` or `change-me`, when APP_ENV is production."
        )
    if settings.amazon_base_url is not None:
        yield "AMAZON_BASE_URL: replaces Amazon and is refused when APP_ENV is production: unset it."
    if "public_url" in required and not settings.public_url.startswith("https://"):
        yield "PUBLIC_URL: must be https:// when APP_ENV is production (Amazon redirects browsers to it)."
