"""What a bare machine lacks: a database, keys, an Amazon. Furnished in `DATA_DIR`, outside production only.

What the operator has set is never replaced. Made things are kept, so that a second start finds the same
database, the same keys and the same example destination.
"""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from app.commands.private_files import write_private
from app.settings import Settings
from dev.postgres.cluster import Cluster

SANDBOX_CLIENT = "sandbox-client"


@dataclass(frozen=True, slots=True, repr=False)
class DevelopmentKeys:
    """The keys that a developer need not think of; readable by the owner of `DATA_DIR` only."""

    encryption: str
    admin: str

    @classmethod
    def of(cls, folder: Path) -> "DevelopmentKeys":
        """Read the kept keys, or make them once."""
        path = folder / "development-keys.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
        encryption = base64.b64encode(secrets.token_bytes(32)).decode()
        made = cls(f"development:{encryption}", f"dev_{secrets.token_urlsafe(32)}")
        write_private(path, json.dumps({"encryption": made.encryption, "admin": made.admin}))
        return made


def with_keys(settings: Settings) -> Settings:
    """Fill in the keys that are not set. In production nothing is filled in."""
    if settings.production:
        return settings
    kept = DevelopmentKeys.of(settings.data_dir)
    return settings.model_copy(
        update={
            "encryption_keys": settings.encryption_keys or SecretStr(kept.encryption),
            "bootstrap_admin_key": settings.bootstrap_admin_key or SecretStr(kept.admin),
        }
    )


def with_sandbox(settings: Settings) -> Settings:
    """Point a development set-up without an Amazon at the sandbox."""
    if settings.production or settings.amazon_base_url:
        return settings
    return settings.model_copy(
        update={
            "amazon_base_url": settings.local_url(settings.sandbox_port),
            "amazon_client_id": settings.amazon_client_id or SANDBOX_CLIENT,
            "amazon_client_secret": settings.amazon_client_secret or SecretStr(SANDBOX_CLIENT),
        }
    )


def with_url(settings: Settings, url: str) -> Settings:
    """Settle on a database."""
    urls = ("migration_database_url", "database_url", "worker_database_url")
    return settings.model_copy(update=dict.fromkeys(urls, SecretStr(url)))


@contextmanager
def with_dev_defaults(settings: Settings) -> Iterator[Settings]:
    """Complete the settings for one command, for as long as the block runs.

    The embedded Postgres of a running `./run` is used; where none runs, it is started for the while and
    migrated, as `./run` would.
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
        # Imported here: most commands find a database running, and do without Alembic.
        from app.store import migrate

        migrate.upgrade(cluster.url)
        yield with_url(settings, cluster.url)
    finally:
        cluster.stop()


def as_environment(settings: Settings) -> Mapping[str, str]:
    """The settings as environment variables, for a child process."""
    told: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            told[name.upper()] = value.get_secret_value()
        elif isinstance(value, tuple):
            told[name.upper()] = ",".join(map(str, value))
        elif value is not None:
            told[name.upper()] = str(value)
    return told
