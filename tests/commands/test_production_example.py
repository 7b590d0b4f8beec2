"""What the manual ships, run as processes: the production example and the blocks of the runbooks.

In the example each service has its own settings and secrets, and no others.
"""

import asyncio
import base64
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import yaml

from app import cli
from dev.postgres.postmaster import free_port
from tests.databases import execute
from tests.pipeline import fork_server
from tests.pipeline.processes import Product
from tests.pipeline.served import ADMIN, served_world
from tests.pipeline.world import event, settings_of

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/docker-compose.yml").read_text())[
    "services"
]
DURABILITY = {"fsync_off", "synchronous_commit_off", "full_page_writes_off"}  # of the tests' database
ROLES = ("example_api", "example_worker", "example_backup")
# Settings of `Product` with empty values, which count as unset.
_OF_PRODUCT = "DATABASE_URL ENCRYPTION_KEYS BOOTSTRAP_ADMIN_KEY AMAZON_CLIENT_SECRET AMAZON_BASE_URL"
UNSET = dict.fromkeys(_OF_PRODUCT.split(), "")


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
            product.start(service, *SERVICES[service]["command"], **{**UNSET, **environment, **listen})
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


RUNBOOKS = ROOT / "docs" / "runbooks"
# They report what is wrong by their exit code: here no process listens on a monitoring port.
REPORTS = ("health", "doctor")
CHANGES = ("pause", "resume", "acknowledge", "publish", "rollback", "apply", "erase")


def blocks(language: str) -> Iterator[str]:
    """Yield the blocks of a language in all runbooks."""
    for page in sorted(RUNBOOKS.glob("*.md")):
        for block in re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```", page.read_text()):
            yield re.sub(r"(?m)^   ", "", block)


LINES = sorted({line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()})


def test_a_check_changes_nothing() -> None:
    """The person on call may run every block."""
    assert len(LINES) > 15
    for line in LINES:
        assert not set(line.split()) & set(CHANGES), line
        assert "replay" not in line or "--dry-run" in line
        assert " -X" not in line
        assert " -d" not in line


@pytest.mark.process
async def test_every_command_runs_as_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each line once, in one service with an accepted event."""
    settings = settings_of(database_url)
    async with served_world(database_url) as (world, port):
        destination = await world.destination(event(1))
        known = {
            "API": f"http://127.0.0.1:{port}", "KEY": ADMIN, "DESTINATION": destination, "EVENT_ID": "ord-1",
            "PATH": "/usr/bin:/bin",
        }  # fmt: skip
        assert settings.encryption_keys is not None
        for name, value in {
            "DATA_DIR": str(tmp_path), "DATABASE_URL": database_url, "PORT": str(port),
            "BOOTSTRAP_ADMIN_KEY": ADMIN,
            "ENCRYPTION_KEYS": settings.encryption_keys.get_secret_value(), "AMAZON_CLIENT_ID": "example",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        for line in LINES:
            words = [re.sub(r"\$(\w+)", lambda found: known[found[1]], word) for word in shlex.split(line)]
            if words[0] == "curl":
                done = await asyncio.create_subprocess_exec(*words, env=known, stdout=subprocess.PIPE)
                output, _ = await done.communicate()
                # The database of a test is not durable, which makes a service not ready.
                is_answer = b'"error"' not in output or b'"fsync_off"' in output
                assert (done.returncode, is_answer) == (0, True), (line, output)
                continue
            assert words[0] == "./run", line
            code = await asyncio.to_thread(cli.main, words[1:])
            output_and_errors = "".join(capsys.readouterr())
            assert code == 0 or (words[1] in REPORTS and code == 1), (line, code, output_and_errors)


async def test_every_statement_runs_as_written(owner: asyncpg.Connection) -> None:
    """On the service's own schema, in a transaction that cannot change anything."""
    statements = set(blocks("sql"))
    assert len(statements) >= 5
    async with owner.transaction(readonly=True):
        for statement in statements:
            await owner.fetch(statement)
