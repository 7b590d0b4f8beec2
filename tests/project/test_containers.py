"""The image and the compose file, as far as they can be judged without a container engine."""

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.cli import COMMANDS
from app.commands.doctor import API_CONNECTIONS, OTHER_CONNECTIONS, WORKER_CONNECTIONS
from app.domain.batch import MAX_BYTES
from app.settings import Settings, read_settings, secret_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/docker-compose.yml").read_text())
REHEARSAL: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose/rehearsal.yml").read_text())
NOT_OURS = {"postgres", "proxy"}
SERVICES = {
    f"{kind}:{name}": service
    for kind, compose in (("development", COMPOSE), ("production", PRODUCTION), ("rehearsal", REHEARSAL))
    for name, service in compose["services"].items()
    if kind != "rehearsal" or name not in PRODUCTION["services"]
}
OURS = sorted(name for name in SERVICES if name.partition(":")[2] not in NOT_OURS)


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_runs_a_command_that_exists_with_few_rights(name: str) -> None:
    """Read-only, without capabilities, and started with one of the command line's words."""
    service = SERVICES[name]
    assert service["command"][0] in {command.name for command in COMMANDS}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_units_and_image_keep_the_memory_of_a_request() -> None:
    """If the C library returned it each time, an event in a post of 500 would cost a tenth more."""
    image = dict(re.findall(r"(MALLOC_\w+)=(\d+)", DOCKERFILE))
    assert min(int(image[f"MALLOC_{name}_THRESHOLD_"]) for name in ("MMAP", "TRIM")) > 4 * MAX_BYTES
    for name in ("serve", "work@"):
        unit = (ROOT / f"deploy/systemd/conversions-{name}.service").read_text()
        assert dict(re.findall(r"(MALLOC_\w+)=(\d+)", unit)) == image
    assert "work --metrics-port %i\n" in unit, "several workers on a host need ports of their own"


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_container_waits_for_what_it_needs(name: str) -> None:
    """Conditions name services that exist, and `service_healthy` only those that have a health check."""
    for needed, how in COMPOSE["services"][name].get("depends_on", {}).items():
        other = COMPOSE["services"][needed]
        disabled = other.get("healthcheck", {}).get("disable", False)
        if how["condition"] == "service_healthy":
            assert not disabled
        if how["condition"] == "service_completed_successfully":
            assert other["restart"] == "no"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_limited_and_its_log_rotates(name: str) -> None:
    """`cpus` is left to the operator: an engine refuses it where the kernel cannot enforce it."""
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    if name in OURS:
        # Docker's init answers signals before Python can, and reaps what is left behind.
        assert service["init"] is True


def test_the_example_of_production_takes_secrets_from_files() -> None:
    """No secret stands in an environment, where `docker inspect` shows it."""
    secret = {name.upper() for name in secret_settings()} | {"POSTGRES_PASSWORD"}
    named = {f"{name}_FILE" for name in secret}
    for service in PRODUCTION["services"].values():
        environment = service.get("environment", {})
        assert not secret & set(environment)
        for name in named & set(environment):
            assert environment[name].removeprefix("/run/secrets/") in service["secrets"]


def test_a_service_of_production_has_only_its_own_secrets() -> None:
    """Only those that its settings name; the owner's URL only where the tables are created."""
    for name, service in PRODUCTION["services"].items():
        named = {
            str(value).removeprefix("/run/secrets/") for value in service.get("environment", {}).values()
        }
        if name != "proxy":
            assert set(service["secrets"]) <= named, name
        assert ("migration_database_url" in service["secrets"]) is (name in {"roles", "migrate"})
        assert ("bootstrap_admin_key" in service["secrets"]) is name.startswith("api")


def test_the_secrets_of_production_are_never_committed() -> None:
    """docs/deployment.md lets operators write them into the checkout."""
    folder = (ROOT / "deploy" / "compose" / PRODUCTION["secrets"]["database_url"]["file"]).parent
    assert f"/{folder.relative_to(ROOT).as_posix()}/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.process
def test_the_page_creates_every_secret_of_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the commands of a rehearsal, which also create what comes from Amazon and from an authority."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    folder = tmp_path / "deploy" / "compose"
    folder.mkdir(parents=True)
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?ms)^ *```\n(.*?)^ *```", page)]
    [create] = [block for block in blocks if "mkdir" in block]
    [rehearse] = [block for block in blocks if "cd .." in block]
    script = create + rehearse.replace("docker compose up", "true")
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True, capture_output=True)

    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    environment = (
        PRODUCTION["services"]["roles"]["environment"] | PRODUCTION["services"]["api-a"]["environment"]
    )
    monkeypatch.setenv("PUBLIC_URL", "https://localhost")
    for name in PRODUCTION["secrets"]:
        assert (folder / "secrets" / name).stat().st_mode & 0o777 == 0o444, name
    for name, value in environment.items():
        if name.endswith("_FILE"):
            monkeypatch.setenv(name, str(value).replace("/run/secrets", str(folder / "secrets")))
    monkeypatch.setenv("APP_ENV", "production")
    settings = read_settings(tmp_path / "none")
    urls = [settings.database_for(role) for role in ("owner", "api", "worker", "backup")]
    assert len({urlsplit(url).username for url in urls}) == 4
    files = dict(line.split("=") for line in (folder / ".env").read_text().splitlines())
    assert all((ROOT / "deploy/compose" / name).is_file() for name in files["COMPOSE_FILE"].split(":"))


def test_the_bootstrap_key_is_removed_with_the_marked_lines() -> None:
    """As docs/deployment.md says: nothing of it is left, and the file stays valid."""
    text = (ROOT / "deploy/compose/docker-compose.yml").read_text()
    rest = "\n".join(line for line in text.splitlines() if not line.endswith("# bootstrap"))
    assert "bootstrap" not in rest.lower()
    assert "bootstrap_admin_key" not in yaml.safe_load(rest)["services"]["api-a"]["secrets"]


def test_ports_are_open_to_this_machine_only() -> None:
    """The development ports are bound to localhost; the database's port is not published."""
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "ports" not in COMPOSE["services"]["postgres"]


def test_the_database_container_is_durable() -> None:
    """A 202 rests on these three."""
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert f"{name}=on" in COMPOSE["services"]["postgres"]["command"]


def test_the_database_of_production_allows_the_connections_of_all_services() -> None:
    """As doctor counts them."""
    commands = [service.get("command", [""])[0] for service in PRODUCTION["services"].values()]
    needed = commands.count("serve") * API_CONNECTIONS + commands.count("work") * WORKER_CONNECTIONS
    (allowed,) = re.findall(r"max_connections=(\d+)", " ".join(PRODUCTION["services"]["postgres"]["command"]))
    assert int(allowed) >= needed + OTHER_CONNECTIONS


def test_the_image_runs_unprivileged_installs_by_hash_and_watches_its_health() -> None:
    """Three lines that must not get lost."""
    assert re.findall(r"(?m)^USER (.+)$", DOCKERFILE)[-1].partition(":")[0] not in {"root", "0"}
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r'(?m)^HEALTHCHECK .* CMD \["python", "-m", "app", "health"\]$', DOCKERFILE)


def test_the_image_is_built_from_any_base_without_a_registry_for_the_build_itself() -> None:
    """A syntax line would fetch a front end; pip stays out of what runs; labels say what the image is."""
    assert not DOCKERFILE.startswith("# syntax")
    assert set(re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)) == {
        "${BASE_IMAGE}", "${CODE}", "packages", "program", "source",
    }  # fmt: skip
    assert "--without-pip /opt/venv" in DOCKERFILE
    for label in ("version", "revision", "source", "licenses", "title", "description"):
        assert f"org.opencontainers.image.{label}=" in DOCKERFILE


def test_the_image_of_backups_is_another_target() -> None:
    """It adds Postgres' programs of the example's server; the image that is built by default has none."""
    stages = re.split(r"(?m)^(?=FROM )", DOCKERFILE)
    backup = next(stage for stage in stages if stage.startswith("FROM program AS backup"))
    default = stages[-1]
    assert default.startswith("FROM program\n")
    assert re.findall("apt-get", backup)
    assert "apt-get" not in default
    [major] = re.findall(r"ARG POSTGRES_MAJOR=(\d+)", backup)
    assert PRODUCTION["services"]["postgres"]["image"] == f"postgres:{major}"
    assert re.findall(r"(?m)^USER (\S+)$", backup) == ["root", "10001:10001"]


def test_the_service_of_backups_starts_again_every_day() -> None:
    """Each start takes a base backup. Its folder survives, and it has no key that opens the backup."""
    service = PRODUCTION["services"]["backup"]
    assert service["entrypoint"] == ["timeout", "--foreground", "24h", "python", "-m", "app"]
    assert service["restart"] == "unless-stopped"
    assert service["command"][1] == service["volumes"][0].partition(":")[2]
    assert service["secrets"] == ["backup_database_url"]


def test_the_image_holds_no_secret_and_only_what_it_names() -> None:
    """No secret in a layer; .dockerignore lets in what is copied and shuts out the rest."""
    assert not re.search(r"(?m)^(ENV|ARG) .*(KEY|SECRET|PASSWORD|TOKEN)", DOCKERFILE)
    admit = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    assert {name for line in copied for name in line.split()} == admit
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


INSTALLATIONS = [
    *sorted((ROOT / "deploy/helm/templates").glob("*")),
    *sorted((ROOT / "deploy/systemd").glob("*.service")),
]


@pytest.mark.parametrize("path", INSTALLATIONS, ids=lambda path: path.name)
def test_charts_and_units_name_settings_and_commands_that_exist(path: Path) -> None:
    """`deploy/helm/check.sh` renders and validates the chart; here are the names that it cannot know."""
    text = path.read_text()
    settings = {name.upper() for name in Settings.model_fields}
    named = re.findall(r"\{name: ([A-Z][A-Z_]+),|\b([A-Z][A-Z_]+)_FILE=", text)
    assert {a.removesuffix("_FILE") or b for a, b in named} <= settings
    commands = re.findall(r"args: \[([\w-]+)\]|-m app ([\w-]+)", text, re.MULTILINE)
    assert {a or b for a, b in commands} <= {command.name for command in COMMANDS}


def test_a_process_of_the_chart_reads_only_its_own_secrets() -> None:
    """The owner's URL is mounted in the migration job alone."""
    templates = {path.stem: path.read_text() for path in (ROOT / "deploy/helm/templates").glob("*.yaml")}
    assert [name for name, text in templates.items() if "migration_database_url" in text] == ["migrate"]
    secrets = {name: re.findall(r"\.Values\.secrets\.(\w+)", text) for name, text in templates.items()}
    assert {name: names for name, names in secrets.items() if names} == {
        "migrate": ["owner"], "serve": ["api"], "work": ["worker"],
    }  # fmt: skip
