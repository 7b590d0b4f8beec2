"""The image and the compose file, as far as they can be judged without a container engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = sorted(set(COMPOSE["services"]) - {"postgres"})


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_runs_a_command_that_exists_with_few_rights(name: str) -> None:
    """Read-only, without capabilities, and started with one of the command line's words."""
    service = COMPOSE["services"][name]
    assert service["command"][0] in {command.name for command in COMMANDS}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


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


def test_ports_are_open_to_this_machine_only() -> None:
    """A development set-up is nobody else's business; the database's port is not published at all."""
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert "ports" not in COMPOSE["services"]["postgres"]


def test_the_database_container_is_durable() -> None:
    """A 202 rests on these three."""
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert f"{name}=on" in COMPOSE["services"]["postgres"]["command"]


def test_the_image_runs_unprivileged_installs_by_hash_and_watches_its_health() -> None:
    """Three lines that must not get lost."""
    last_user = re.findall(r"(?m)^USER (.+)$", DOCKERFILE)[-1]
    assert last_user.partition(":")[0] not in {"root", "0"}
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"(?m)^HEALTHCHECK ", DOCKERFILE)


def test_the_image_holds_no_secret_and_only_what_it_names() -> None:
    """No secret in a layer; .dockerignore lets in what is copied and shuts out the rest."""
    assert not re.search(r"(?m)^(ENV|ARG) .*(KEY|SECRET|PASSWORD|TOKEN)", DOCKERFILE)
    admit = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    assert {name for line in copied for name in line.split()} == admit
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
