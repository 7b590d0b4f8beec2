"""The production example, run as processes: each service with its own settings and secrets, and no others."""

import asyncio
import base64
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from dev.postgres.postmaster import free_port
from tests.databases import execute
from tests.pipeline import fork_server
from tests.pipeline.processes import Product

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/docker-compose.yml").read_text())[
    "services"
]
DURABILITY = {"fsync_off", "synchronous_commit_off", "full_page_writes_off"}  # of the tests' database
ROLES = ("example_api", "example_worker", "example_backup")


@pytest.fixture
def database(empty_database_url: str) -> Iterator[str]:
    """A database without tables; the roles that the example creates are of the whole cluster."""
    yield empty_database_url
    statements = [f"{drop} {role}" for role in ROLES for drop in ("DROP OWNED BY", "DROP ROLE")]
    asyncio.run(execute(empty_database_url, *statements))


def environment_of(service: str, values: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of a service. Its folder has the secrets that the service lists."""
    own = folder / service
    own.mkdir()
    for name in SERVICES[service]["secrets"]:
        (own / name).write_text(values[name])
    given = {"AMAZON_CLIENT_ID": "amzn1.example", "PUBLIC_URL": "https://events.example.com"}
    environment = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: given[found[1]], value).replace(
            "/run/secrets", str(own)
        )
        for name, value in SERVICES[service]["environment"].items()
    }
    path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**path, **environment, "DATA_DIR": str(folder), "PYTHONPATH": str(ROOT)}


def test_each_service_starts_with_its_own_role(database: str, tmp_path: Path) -> None:
    """API and worker are ready although nothing was posted, and doctor finds nothing of the example."""
    parts = urlsplit(database)
    place = parts.netloc.rpartition("@")[2] + parts.path
    urls = [f"postgresql+asyncpg://{role}:{secrets.token_hex(8)}@{place}" for role in ROLES]
    values = {
        "migration_database_url": database,
        "database_url": urls[0],
        "worker_database_url": urls[1],
        "backup_database_url": urls[2],
        "encryption_keys": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "amazon_client_secret": "example",
        "bootstrap_admin_key": secrets.token_urlsafe(32),
    }

    def run(service: str, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return fork_server.run(words or SERVICES[service]["command"], environment)

    for service in ("roles", "migrate", "roles"):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        ended = run(service, environment_of(service, values, folder))
        assert ended.returncode == 0, (service, ended.stderr)
    with closing(Product(database, tmp_path / "log")) as product:
        for service in ("api-a", "worker-a"):
            port = free_port()
            environment = environment_of(service, values, tmp_path)
            listen = {"PORT": str(product.api_port), "METRICS_PORT": str(port)}
            product.listener.close()
            product.start(service, *SERVICES[service]["command"], **{**_unset(), **environment, **listen})
            product.ready(f"http://127.0.0.1:{port}/health/live")
            reasons = set(httpx.get(f"http://127.0.0.1:{port}/health/ready").json()["reasons"])
            assert reasons <= DURABILITY, service
            if service == "api-a":
                doctor = run(service, environment, "doctor").stdout.splitlines()
                wrong = {
                    line.split(" ", 1)[1].strip().split(" ")[0]
                    for line in doctor
                    if not line.startswith("ok")
                }
                assert wrong <= {"fsync", "full_page_writes", "data", "base", "BOOTSTRAP_ADMIN_KEY"}, doctor


def _unset() -> dict[str, str]:
    """Return the settings of `Product` with empty values, which count as unset."""
    names = (
        "DATABASE_URL",
        "ENCRYPTION_KEYS",
        "BOOTSTRAP_ADMIN_KEY",
        "AMAZON_CLIENT_SECRET",
        "AMAZON_BASE_URL",
    )
    return dict.fromkeys(names, "")
