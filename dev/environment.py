"""Development defaults for settings that the operator has not set: a database, keys and the sandbox.

The defaults are stored in DATA_DIR, so that the next start uses the same database and keys.
"""

import base64
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from app.commands.private_files import write_private
from app.settings import Settings, SettingsError
from dev.postgres.cluster import Cluster

SANDBOX_CLIENT = "sandbox-client"


@dataclass(frozen=True, slots=True, repr=False)
class DevelopmentKeys:
    """The generated keys of a development machine. They are in a file that only its owner can read."""

    encryption: str
    admin: str

    @classmethod
    def of(cls, folder: Path) -> "DevelopmentKeys":
        """Read the keys stored in a folder, or generate and store them."""
        path = folder / "development-keys.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            pass
        encryption = base64.b64encode(secrets.token_bytes(32)).decode()
        generated = cls(f"development:{encryption}", f"dev_{secrets.token_urlsafe(32)}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps({"encryption": generated.encryption, "admin": generated.admin}))
        except OSError as error:
            raise SettingsError([f"DATA_DIR: {folder} cannot be written ({error.strerror})."]) from None
        return generated


def with_keys(settings: Settings) -> Settings:
    """Fill in the keys that are not set. In production, change nothing."""
    if settings.production:
        return settings
    stored = DevelopmentKeys.of(settings.data_dir)
    return settings.model_copy(
        update={
            "encryption_keys": settings.encryption_keys or SecretStr(stored.encryption),
            "bootstrap_admin_key": settings.bootstrap_admin_key or SecretStr(stored.admin),
        }
    )


def with_sandbox(settings: Settings) -> Settings:
    """Fill in the address of the sandbox and client credentials if not set. In production, change nothing."""
    if settings.production:
        return settings
    return settings.model_copy(
        update={
            "amazon_base_url": settings.amazon_base_url or settings.local_url(settings.sandbox_port),
            "amazon_client_id": settings.amazon_client_id or SANDBOX_CLIENT,
            "amazon_client_secret": settings.amazon_client_secret or SecretStr(SANDBOX_CLIENT),
        }
    )


DATABASE_URLS = ("migration_database_url", "database_url", "worker_database_url", "backup_database_url")


def with_url(settings: Settings, url: str | None) -> Settings:
    """Set the URL of the database for all roles, or remove it."""
    return settings.model_copy(update=dict.fromkeys(DATABASE_URLS, url and SecretStr(url)))


@contextmanager
def with_dev_defaults(settings: Settings) -> Iterator[Settings]:
    """Fill in the settings that are not set, for the duration of a command.

    Without a database, the embedded Postgres of a running `./run` is used. If none runs, it is started for
    the command and migrated.
    """
    settings = with_keys(settings)
    if settings.amazon_client_id is None:
        settings = with_sandbox(settings)
    if settings.database_url is not None:
        yield settings
        return
    cluster = Cluster(settings.data_dir)
    running = cluster.url_if_running()
    if running is not None:
        yield with_url(settings, running)
        return
    cluster.start()
    try:
        # Imported here, because Alembic is not needed if the database runs.
        from app.store.database import migrate

        migrate.upgrade(cluster.url)
        yield with_url(settings, cluster.url)
    finally:
        cluster.stop()


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child process with these settings.

    Other variables are inherited. A child gets the value of each secret, not the secret's file.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.lower().removesuffix("_file") not in Settings.model_fields
    }
    # The types in `app/setting_types.py` write what they read.
    for name, value in settings.model_dump(exclude_none=True).items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        inherited[name.upper()] = text
    return inherited
