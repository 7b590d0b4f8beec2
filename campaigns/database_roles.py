"""Run every command of the manual with each of the database roles, and compare its output with the owner's.

It prints a table, and ends with 1 if a command fails without saying why.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.settings import ROOT
from dev.drills.load import Load
from dev.drills.stage import Stage
from dev.environment import DATABASE_URLS

# Commands that use no database, or whose purpose is to start or to test the service.
WITHOUT_DATABASE: Final = (
    "up", "serve", "work", "sandbox", "restore", "drill", "schema", "sbom", "conformance", "test",
    "campaign", "check", "bench", "lock", "docs",
)  # fmt: skip
# Commands that are requests to the API: no database role of theirs matters.
OF_THE_API: Final = (
    "backfill", "destinations", "mappings", "events", "rejections", "stats", "incidents", "sessions", "erase",
)  # fmt: skip
# The words after the name, in the order in which they run. DST, FILE and FOLDER are filled in.
COMMANDS: Final = (
    "migrate", "database-roles", "database-roles --sql", "example", "doctor", "health serve", "health work",
    "balance", "audit verify", "export", "plan FILE", "apply FILE", "replay DST", "replay DST --dry-run",
    "keys list", "keys create campaign events:write", "rotate-keys", "scan-personal-data", "backup FOLDER",
)  # fmt: skip
# Which URLs each process gets, as in the production example: from the setting to the setting whose URL it is.
PLACES: Final[Mapping[str, Mapping[str, str]]] = {
    "three roles and the owner": {name: name for name in DATABASE_URLS},
    "API container": {"database_url": "database_url"},
    "worker container": {"database_url": "worker_database_url"},
}
_CHANGING = re.compile(
    r"ack_[\w-]+|(dst|map|key|rpl|inc|ses|era|req)_[0-9a-z]+|\d{4}-\d\d-\d\d[T ][\d:.]+Z?|base-[\dTZ-]+"
    r"|[0-9a-f]{16,}|\d[\d,.]*( ms| s)?"
)


def main() -> int:
    """Run the campaign, and print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="conversions-roles-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        stage = Stage(folder)
        try:
            stage.open()
            load = Load(stage, callers=1)
            load.start()
            time.sleep(2)
            load.stop()
            stage.drain()
            return _compare(stage, folder)
        finally:
            stage.close()


def _compare(stage: Stage, folder: Path) -> int:
    base = {
        name: value for name, value in stage.environment(ROOT).items() if not name.endswith("DATABASE_URL")
    }
    urls = {name: getattr(stage.settings, name).get_secret_value() for name in DATABASE_URLS}
    (folder / "file.yaml").write_text(stage.run("export"))
    words = {
        "DST": stage.example.destination_id,
        "FILE": str(folder / "file.yaml"),
    }
    places = {"owner": dict.fromkeys(DATABASE_URLS, "migration_database_url"), **PLACES}
    print(f"| command | {' | '.join(PLACES)} |\n|---|{'---|' * len(PLACES)}")
    failed = False
    for command in COMMANDS:
        answers = {}
        for number, (place, given) in enumerate(places.items()):
            words["FOLDER"] = str(folder / f"backup-{number}")
            environment = base | {name.upper(): urls[role] for name, role in given.items()}
            done = subprocess.run(
                [sys.executable, "-m", "app", *(words.get(word, word) for word in command.split())],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False, timeout=300,
            )  # fmt: skip
            answers[place] = done.returncode, done.stdout + done.stderr
        cells = [_judge(answers["owner"], answers[place]) for place in PLACES]
        failed |= any(cell.startswith("**") for cell in cells)
        print(f"| `{command}` | {' | '.join(cells)} |", flush=True)
    return failed


def _judge(owner: tuple[int, str], other: tuple[int, str]) -> str:
    """Return `same`, the sentence of a refusal, or in bold what is neither."""
    if "Traceback" in other[1]:
        return f"**traceback: {other[1].strip().splitlines()[-1]}**"
    if owner[0] == other[0] and _CHANGING.sub("#", owner[1]) == _CHANGING.sub("#", other[1]):
        return "same"
    lines = [line for line in other[1].strip().splitlines() if line not in owner[1].splitlines()]
    sentence = (lines or ["no output"])[0].strip().replace("|", "\\|")[:200]
    return f"refused: {sentence}" if other[0] and other[1].strip() else f"differs: {sentence}"
