"""docs/campaigns.md lists the campaigns, and each of them is a program; short forms of three."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.outcomes.outcome import OUTCOMES
from campaigns.__main__ import CAMPAIGNS, LONG_TESTS, main
from campaigns.agreement import compare
from campaigns.attacks.mutation import PARTS
from campaigns.compiled import run_tests

ROOT = Path(__file__).resolve().parents[1]
# The rules of conversion and of identities, with their laws and worked cases.
RULES = (
    "identity",
    *(
        f"test_{name}.py"
        for name in (
            "consent", "conversion", "conversion_laws", "conversion_values", "event_bodies", "number_steps",
            "preview", "strict_json", "timestamps", "unreadable_values",
        )
    ),
)  # fmt: skip


def test_the_page_lists_every_campaign() -> None:
    """The first column of the table has the names."""
    rows = re.findall(r"(?m)^\| (`.*?) \|", (ROOT / "docs" / "campaigns.md").read_text())
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(rows))) == sorted([*CAMPAIGNS, LONG_TESTS])


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_describes_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is imported as a whole, so that a module that was renamed is noticed."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"run campaign {name}" in capsys.readouterr().out


def test_every_module_of_a_mutation_and_its_tests_exist() -> None:
    """A path that does not exist ends the campaign before its first mutant."""
    named = {
        path for modules in PARTS.values() for module, tests in modules.items() for path in (module, *tests)
    }
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_an_unknown_campaign_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name the list is printed."""
    assert (main(["none"]), main([])) == (2, 0)
    assert "liveness" in capsys.readouterr().out


@pytest.mark.campaign
async def test_histories_lists_and_stats_agree_with_the_log_of_the_stand_in(database_url: str) -> None:
    """Under random faults, pauses, replays and erasures; the long form is a command (docs/evidence)."""
    report = await compare(database_url, events=150, seed=3)
    assert report.disagreements == [], "\n".join(report.lines())
    # The run met what it is about.
    assert report.replayed
    assert report.erased_after_delivery
    assert set(OUTCOMES.values()) - {"not_sent"} == report.outcomes.keys()


@pytest.mark.process
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_compiled_modules_pass_the_tests_of_their_sources() -> None:
    """The image has them (dev/compiled.py); the long form runs all tests."""
    assert run_tests(["-q", "-n", "0", *(f"tests/domain/{name}" for name in RULES)]) == 0


def test_a_checkout_is_not_compiled(tmp_path: Path) -> None:
    """A change of its sources would have no effect, without a word."""
    (tmp_path / ".git").mkdir()
    command = [sys.executable, "-m", "dev.compiled", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "is a checkout" in ran.stderr
