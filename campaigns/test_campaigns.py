"""docs/campaigns.md lists the campaigns, and each of them is a program; short forms of two."""

import re
from pathlib import Path

import pytest

from app.domain.outcomes.outcome import OUTCOMES
from campaigns.__main__ import CAMPAIGNS, LONG_TESTS, main
from campaigns.agreement import compare
from campaigns.attacks.mutation import PARTS

ROOT = Path(__file__).resolve().parents[1]


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
