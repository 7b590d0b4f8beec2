"""`health`: check that the process of this container is ready.

In a container, which has no `.env`, the command uses only the standard library, because it runs often. It
first finds out which command the container runs. It asks `serve` and `work` on METRICS_PORT. Without
METRICS_PORT it asks `serve` on PORT. It asks the sandbox on SANDBOX_PORT. Other commands, such as `migrate`,
are always healthy.
"""

import argparse
import http.client
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

TIMEOUT_S = 4
LISTENING = ("serve", "work", "sandbox")
WHOLE_STACK = ("", "up")  # bare `./run`: its API is ready last
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "./run" if (ROOT / "run").exists() else "python -m app"  # the image has no `run`


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the role, which is by default the command that this container runs."""
    parser.add_argument("role", nargs="?", choices=LISTENING, help="default: the process in this container")


def main(words: Sequence[str]) -> int:
    """Run the command without the command line's own imports."""
    description = "Is the process of this role ready?"
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} health", description=description)
    arguments(parser)
    return run(None, parser.parse_args(words))


def run(_settings: object, asked: argparse.Namespace) -> int:
    """Print one line. Return 0 if the process is ready, or 1 if it is not."""
    role = asked.role or running_role(command_lines())
    problem = problem_of(role, {**env_file(ROOT / ".env"), **os.environ})
    print(problem or f"{role}: ready")
    return 1 if problem else 0


def problem_of(role: str, environment: Mapping[str, str]) -> str | None:
    """Return why the process of a role is not ready, or None if it is ready."""
    if role not in LISTENING:
        return None  # a command that ends when its work is done
    try:
        address = target(role, environment)
    except ValueError:
        return f"the port of {role} is not a number"
    if address is None:
        return "METRICS_PORT is not set: a worker has no other port"
    return ask(*address)


def target(role: str, environment: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the port and the path to ask, or None for a worker without METRICS_PORT."""
    if role == "sandbox":
        return int(environment.get("SANDBOX_PORT") or 8001), "/_sandbox/health"
    port = environment.get("METRICS_PORT") or ""
    if not port and role == "serve":
        port = environment.get("PORT") or "8000"
    return (int(port), "/health/ready") if port else None


def ask(port: int, path: str) -> str | None:
    """Return why the process on a port of this machine is not ready, or None if it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"port {port} does not respond: {type(error).__name__}"
    finally:
        connection.close()
    if response.status == http.client.OK:
        return None
    try:
        return ", ".join(json.loads(body)["reasons"])
    except (ValueError, KeyError, TypeError):
        return f"port {port} returned {response.status}"


def running_role(lines: Iterable[Sequence[str]]) -> str:
    """Return the role of the first process that listens. If none does: process 1's command, or `serve`.

    Process 1 is that of the container. On a developer's machine other commands, such as `test`, do not count.
    """
    commands = [command_of(line) for line in lines]
    candidates = (*(command for command in commands if command in LISTENING), *commands[:1])
    return next(filter(None, candidates), "serve")


def command_of(line: Sequence[str]) -> str | None:
    """Return the command in `-m app COMMAND`. None if there is none, or if it is a health check itself."""
    for option, module, command in zip(line, line[1:], line[2:], strict=False):
        if (option, module) == ("-m", "app") and command != "health":
            return "serve" if command in WHOLE_STACK else command
    return None


def command_lines() -> list[list[str]]:
    """Return the command lines of all visible processes, oldest first."""
    lines = []
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):  # the process ended
            lines.append((folder / "cmdline").read_bytes().decode(errors="replace").split("\0"))
    return lines


def env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file as the other commands read it, or none if the file does not exist."""
    if not path.exists():
        return {}
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(path).items() if value is not None}
