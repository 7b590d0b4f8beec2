"""Build the image and run the compose files on the real Docker engine; print the results as a table.

    ./run campaign containers --folder /var/tmp/engine

Root on Debian 13; about five minutes, less with a folder from an earlier run. Any failed check ends it with 1.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from campaigns.containers.engine import POSTGRES_MAJOR, ROOT, Engine
from campaigns.running import commit
from tests.waiting import wait_until

IMAGE = "amazon-conversions-destination"
BACKUP = "amazon-conversions-backup"
SERVICES = ("postgres", "sandbox", "api", "worker")
STOP_WITHIN_S = 3.0
DELAYS_S = (0.1, 0.5, 1.0, 5.0)
PRODUCTION = ROOT / "deploy" / "compose"

# Production sends to Amazon itself, which cannot be reached here. Events of a destination whose sign-in was revoked
# are accepted, and wait.
_SIGN_INS = (
    "ALTER TABLE destinations ALTER sign_in SET DEFAULT 'broken', ALTER sign_in_reason SET DEFAULT 'revoked'"
)
_ROLES = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"

Row = tuple[str, str]


def main() -> int:
    """Run everything and print the table; clean up whatever happens."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="programs and images; kept for the next run"
    )
    parser.add_argument("--only", choices=("image", "compose", "production", "rehearsal"), help="one part")
    options = parser.parse_args()
    engine = Engine(options.folder.resolve())
    engine.prepare()
    rows: list[Row] = []
    with engine.building():
        rows += build(engine)
    parts: dict[str, Callable[[Engine], list[Row]]] = {
        "image": image, "compose": compose, "production": production, "rehearsal": rehearsal,
    }  # fmt: skip
    with engine.running():
        for name, part in parts.items():
            if options.only in {None, name}:
                rows += part(engine)
                report(rows)
    return 0


def report(rows: list[Row]) -> None:
    """Print the table with date and commit."""
    print(f"\n{datetime.now(UTC):%d %B %Y %H:%M} UTC, commit {commit()}\n\n| what | seen |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def build(engine: Engine) -> list[Row]:
    """Build the image as it is, and the proxy of the production example."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    began = time.monotonic()
    arguments = ("--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={commit()}")
    engine.docker("build", "-q", "--network", "host", "-t", IMAGE, *arguments, ".")
    took = time.monotonic() - began
    for name, words in (
        ("amazon-conversions-proxy", (str(PRODUCTION / "proxy"),)),
        (BACKUP, ("--target", "backup", "--build-arg", f"POSTGRES_MAJOR={POSTGRES_MAJOR}", ".")),
    ):
        engine.docker("build", "-q", "--network", "host", "-t", name, *words)
    size, base = (
        int(engine.docker("inspect", "-f", "{{.Size}}", name)) for name in (IMAGE, "python:3.13-slim")
    )
    labels = json.loads(engine.docker("inspect", "-f", "{{json .Config.Labels}}", IMAGE))
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"] == commit()
    return [
        ("build, unchanged Dockerfile, no registry", f"{took:.0f} s"),
        ("image size", f"{size / 1e6:.0f} MB, of them {base / 1e6:.0f} MB base image (a Debian stand-in)"),
        ("labels", ", ".join(sorted(name.rpartition(".")[2] for name in labels))),
    ]


def image(engine: Engine) -> list[Row]:
    """Look at the image itself: its programs, its file system, and how it ends."""
    rows: list[Row] = []
    pip = engine.docker("run", "--rm", "--entrypoint", "python", IMAGE, "-m", "pip", "--version", check=False)
    assert "No module named pip" in pip, pip
    programs = engine.docker("run", "--rm", "--entrypoint", "ls", IMAGE, "/opt/venv/bin").split()
    assert all(name.startswith("python") for name in programs), programs
    rows.append(("programs in /opt/venv/bin", ", ".join(programs)))
    where = "import app.domain.conversion.convert as module; print(module.__file__)"
    file = engine.docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", where).strip()
    assert file.endswith(".so"), file
    rows.append(("module that converts events", file))
    left = engine.docker("run", "--rm", "--entrypoint", "ls", IMAGE, "-A", "/srv").split()
    assert not {"build", ".mypy_cache"} & set(left), left
    for role, command in (("serve", ["serve"]), ("work", ["work"]), ("serve --init", ["serve"])):
        flags = ["--init"] if role.endswith("--init") else []
        seen = [f"{delay:g} s: {stop_after(engine, command, flags, delay)}" for delay in DELAYS_S]
        rows.append((f"SIGTERM to `{role}` after", "; ".join(seen)))
    broken = engine.docker(
        "run", "--rm", "--read-only", "-e", "DATA_DIR=/nowhere", IMAGE, "sandbox", check=False
    )
    assert "Traceback" not in broken and "DATA_DIR" in broken, broken
    rows.append(("`sandbox` without a writable DATA_DIR", "one sentence, exit 2"))
    return rows


def stop_after(engine: Engine, command: list[str], flags: list[str], delay: float) -> str:
    """Start a container without a database, send SIGTERM after a delay; return seconds and exit code."""
    url = "postgresql+asyncpg://u:p@127.0.0.1:1/d"
    name = engine.docker("run", "-d", *flags, "-e", f"DATABASE_URL={url}", IMAGE, *command).strip()[-64:]
    time.sleep(delay)
    took = seconds_to_stop(engine, name, "stop", "-t", "20", name)
    code = engine.docker("inspect", "-f", "{{.State.ExitCode}}", name).strip()
    engine.docker("rm", "-f", name)
    assert took < STOP_WITHIN_S, f"{command} {flags} SIGTERM after {delay} s took {took:.1f} s, exit {code}"
    return f"{took:.1f} s (exit {code})"


def seconds_to_stop(engine: Engine, container: str, *command: str) -> float:
    """Run a command that stops a container; return the seconds from SIGTERM to its end, by the engine's clock.

    The command itself takes longer: on a busy machine its client needs seconds to start.
    """
    began = f"{time.time():.6f}"
    engine.docker(*command)
    times: dict[str, int] = {}
    while "die" not in times:  # the engine records it shortly after the command has returned
        events = engine.docker(
            "events", "--since", began, "--until", f"{time.time():.6f}", "--filter", f"container={container}",
            "--filter", "event=kill", "--filter", "event=die", "--format", "{{.Action}} {{.TimeNano}}",
        )  # fmt: skip
        times = {name: int(at) for name, at in (line.split() for line in events.splitlines())}
    return (times["die"] - times["kill"]) / 1e9


def compose(engine: Engine) -> list[Row]:
    """Bring the default compose file up, send the printed event, kill, and bring it down and up again."""
    # In a project folder without a `.env` that would change what is tested.
    engine.docker("compose", "config", "-q")
    try:
        began = time.monotonic()
        engine.docker("compose", "up", "-d", "--no-build", "--wait", *SERVICES)
        healthy = time.monotonic() - began
        text = engine.docker("compose", "up", "--no-build", "--no-deps", "example")
        found = re.search(r"curl .*", text)
        assert found is not None and "Ready" in text, text
        line = found[0]
        first = engine.inside("bash", "-c", line)
        assert '"accepted":1' in first, first
        key = re.search(r'Bearer ([^"]+)"', line)
        assert key is not None
        delivered = delivered_after(engine, "http://localhost:8000", key[1], line, first)
        status = engine.docker("compose", "ps", "--format", "{{.Service}} {{.Health}}")
        assert all(f"{name} healthy" in status for name in SERVICES), status
        rows = [
            ("`compose up` until all are healthy", f"{healthy:.0f} s"),
            ("printed first event", f"202, delivered after {delivered:.1f} s"),
            ("read-only root", read_only(engine)),
            *stop_with_database(engine),
            ("kill -9 of worker and API", kill_nine(engine)),
        ]
        engine.docker("compose", "down")
        began = time.monotonic()
        engine.docker("compose", "up", "-d", "--no-build", "--wait", *SERVICES)
        again = engine.inside("bash", "-c", line)
        assert '"duplicates":1' in again, again
        return [
            *rows,
            ("down, then up", f"healthy after {time.monotonic() - began:.0f} s; the event is a duplicate"),
        ]
    finally:
        engine.docker("compose", "down", "-v", check=False)


def stop_with_database(engine: Engine) -> list[Row]:
    """Stop API and worker after delays from their start, with the database up; then start both again."""
    rows = []
    for name in ("api", "worker"):
        took = []
        for delay in DELAYS_S:
            engine.docker("compose", "stop", name)
            engine.docker("compose", "up", "-d", "--no-build", "--no-deps", name)
            time.sleep(delay)
            container = f"amazon-conversions-{name}-1"
            took.append(seconds_to_stop(engine, container, "compose", "stop", "-t", "20", name))
            assert took[-1] < STOP_WITHIN_S, f"{name}: SIGTERM after {delay} s took {took[-1]:.1f} s"
        seen = "; ".join(
            f"{delay:g} s: {seconds:.1f} s" for delay, seconds in zip(DELAYS_S, took, strict=True)
        )
        began = time.monotonic()
        engine.docker("compose", "up", "-d", "--no-build", "--no-deps", "--wait", name)
        rows += [
            (f"SIGTERM to `{name}` of the compose file after", seen),
            (f"`{name}` alone from start to healthy", f"{time.monotonic() - began:.1f} s"),
        ]
    return rows


def delivered_after(engine: Engine, address: str, key: str, line: str, response: str) -> float:
    """Wait until the event of a printed line is delivered; return the seconds."""
    destination = re.search(r"dst_\w+", line)
    assert destination is not None
    event_id = json.loads(response)["results"][0]["event_id"]
    url = f"{address}/events/{event_id}?destination_id={destination[0]}"
    began, ask = time.monotonic(), ("curl", "-sk", "-H", f"Authorization: Bearer {key}", url)
    wait_until(lambda: '"status":"delivered"' in engine.inside(*ask), seconds=60, every=0.2)
    return time.monotonic() - began


def read_only(engine: Engine) -> str:
    """Return what the container's user can write; fail if it is more than /tmp and /data."""
    script = (
        'id -u; for d in / /srv /opt/venv /etc /tmp /data; do touch $d/x 2>/dev/null && echo "$d"; done; true'
    )
    user, *writable = engine.docker("compose", "exec", "-T", "api", "sh", "-c", script).split()
    assert (user, writable) == ("10001", ["/tmp", "/data"]), (user, writable)
    return f"uid {user}; writable: {', '.join(writable)}"


def kill_nine(engine: Engine) -> str:
    """Kill two containers' processes with SIGKILL; return the seconds until both are healthy again."""
    for name in ("worker", "api"):
        pid = engine.docker("inspect", "-f", "{{.State.Pid}}", f"amazon-conversions-{name}-1").strip()
        os.kill(int(pid), 9)
    began, ask = time.monotonic(), ("compose", "ps", "--format", "{{.Service}} {{.Health}}")
    time.sleep(0.5)
    healthy = {"worker healthy", "api healthy"}
    wait_until(lambda: healthy <= {*engine.docker(*ask).splitlines()}, seconds=60, every=0.5)
    return f"restarted, healthy after {time.monotonic() - began:.0f} s"


def production(engine: Engine) -> list[Row]:
    """Replace the two API containers of the production example one after the other, under load."""
    create = blocks("## Production on one host")[1]
    files, _, _ = blocks("### Rehearsal without Amazon")[0].partition("cd ..")
    settings = "printf '%s\n' AMAZON_CLIENT_ID=amzn1.example PUBLIC_URL=https://events.example.com > ../.env"
    with example(engine, create + files + settings) as (run, folder):
        key = (folder / "secrets" / "bootstrap_admin_key").read_text().strip()
        began = time.monotonic()
        # As the page says: everything, without `--wait`, which fails for services that end.
        run("up", "-d", "--no-build")
        run("up", "-d", "--no-build", "--wait", "postgres", "api-a", "api-b", "worker-a", "worker-b", "proxy")
        healthy = time.monotonic() - began
        query = ("exec", "-T", "postgres", "psql", "-U", "conversions", "-Atc")
        roles = run(*query, _ROLES).split()
        own = "conversions"  # the session of this query
        assert set(roles) == {own, "conversions_api", "conversions_worker"}, roles
        backed_up = backup_after(run)
        doctor = run("run", "--rm", "api-a", "doctor", check=False)
        assert not [line for line in doctor.splitlines() if line.startswith("FAILURE")], doctor
        assert (
            engine.inside("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://localhost/metrics")
            == "404"
        )
        run(*query, _SIGN_INS)
        load = subprocess.Popen(
            engine.command_inside(sys.executable, "-m", "campaigns.containers.load", "https://localhost", key),
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(5)
        for name in ("api-a", "api-b", "worker-a", "worker-b"):
            run("up", "-d", "--no-build", "--no-deps", "--force-recreate", "--wait", name)
            time.sleep(8)
        out, _ = load.communicate("stop\n")
        seen = json.loads(out)
        assert seen["failed"] == 0 and seen["results"]["POST 202"] > 250, seen
        return [
            ("production example until all are healthy, by three roles", f"{healthy:.0f} s"),
            ("base backup of the service `backup`, verified", f"{backed_up:.0f} s later, WAL is streamed"),
            (
                "`doctor` in the production example",
                f"no failure; warnings: {sum(line.startswith('warning') for line in doctor.splitlines())}",
            ),
            (
                "APIs and workers replaced one by one under load",
                f"{seen['results']['POST 202']:,} posts with 202 and as many reads, {seen['failed']} failed",
            ),
        ]


def rehearsal(engine: Engine) -> list[Row]:
    """Follow the page from the secrets to the first event, which the sandbox gets through the proxy."""
    began = time.monotonic()
    start, send = blocks("### Rehearsal without Amazon")
    with example(engine, blocks("## Production on one host")[1] + start) as (_, folder):
        ready = time.monotonic() - began
        printed = re.search(r"curl .*", engine.inside("bash", "-euc", send, cwd=folder))
        assert printed is not None
        exports, _, _ = send.partition("\n")
        response = engine.inside("bash", "-euc", f"{exports}\n{printed[0]}", cwd=folder)
        assert '"accepted":1' in response, response
        accepted = time.monotonic() - began
        key = (folder / "secrets" / "bootstrap_admin_key").read_text().strip()
        delivered = delivered_after(engine, "https://localhost", key, printed[0], response)
        return [
            ("rehearsal, by its page: secrets until the proxy answers", f"{ready:.0f} s"),
            (
                "first event through the proxy",
                f"202 after {accepted:.0f} s, delivered to the sandbox {delivered:.1f} s later",
            ),
        ]


@contextmanager
def example(engine: Engine, script: str) -> Iterator[tuple[Callable[..., str], Path]]:
    """Set a copy of the production example up with a script of the page.

    Yield a function that runs `docker compose` in its folder, and the folder. Remove the containers at the end.
    """
    checkout = Path(tempfile.mkdtemp(prefix="production-"))
    folder = checkout / "deploy" / "compose"
    shutil.copytree(PRODUCTION, folder)

    def run(*words: str, check: bool = True) -> str:
        return engine.docker("compose", *words, cwd=folder, check=check)

    try:
        engine.inside("bash", "-euc", script, cwd=checkout)
        yield run, folder
    finally:
        with suppress(OSError):
            (folder / "log.txt").write_text(run("logs", "--no-color", check=False))
        run("down", "-v", check=False)


def blocks(heading: str) -> list[str]:
    """Return the blocks of commands of a section of docs/deployment.md."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    section = page.partition(f"{heading}\n")[2].partition("\n##")[0]
    return [textwrap.dedent(block) for block in re.findall(r"(?ms)^ *```\n(.*?)^ *```", section)]


def backup_after(run: Callable[..., str]) -> float:
    """Return the seconds until the service `backup` has a verified base backup and streams WAL."""
    began, script = time.monotonic(), "ls -d /backup/base-* /backup/wal/*.partial"
    while ".partial" not in (seen := run("exec", "-T", "backup", "sh", "-c", script, check=False)):
        assert time.monotonic() - began < 120, seen + run("logs", "backup", check=False)
        time.sleep(1)
    return time.monotonic() - began
