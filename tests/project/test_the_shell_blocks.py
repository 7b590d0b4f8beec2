"""Commands and shell blocks of the documents: options exist, and the journey node's page runs as written."""

import asyncio
import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.cli import COMMANDS, _parser
from tests.pipeline.served import ADMIN, served_world

ROOT = Path(__file__).resolve().parents[2]
NAMES = {command.name for command in COMMANDS}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command of ours in a block of the documents, with its words."""
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", path.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.match(r"\s*(?:\./run|python -m app) (.+)", re.sub(r"\s+#.*| [<|>].*", "", line))
                if found and not re.search(r"[…\[]", found[1]) and found[1].split()[0] in NAMES:
                    yield path.name, shlex.split(found[1])


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_a_command_in_the_documents_is_understood(page: str, words: list[str]) -> None:
    """Name and options exist; a renamed option is renamed in the documents."""
    del page
    _, unknown = _parser(words).parse_known_args(words)
    assert words[0] in {"test", "bench"} or not unknown


def shell_blocks(page: str) -> list[str]:
    """Return the blocks of a page that are marked to run."""
    text = (ROOT / page).read_text()
    return [re.sub(r"(?m)^   ", "", block) for block in re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", text)]


@pytest.mark.process
async def test_the_blocks_of_the_readme_and_the_journey_node_run(database_url: str) -> None:
    """Send an event; create a key, send another, read its history: as written, against a running API."""
    async with served_world(database_url) as (world, port):
        known = {
            "PATH": "/usr/bin:/bin", "API": f"http://127.0.0.1:{port}", "ADMIN_KEY": ADMIN, "KEY": ADMIN,
            "DESTINATION": await world.destination(), "NOW": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }  # fmt: skip
        answer = re.findall(r"(?ms)^```json\n(.*?)^```", (ROOT / "README.md").read_text())[0].strip()
        expected = (answer, '"scopes"', '"accepted":1', '"status":"queued"')
        blocks = [*shell_blocks("README.md"), *shell_blocks("docs/journey-node.md")]
        for block, words in zip(blocks, expected, strict=True):
            response = await _run(block, known)
            assert words in response.replace(": ", ":"), response


async def _run(block: str, known: dict[str, str]) -> str:
    child = await asyncio.create_subprocess_shell(
        block, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await child.communicate()
    return output.decode()
