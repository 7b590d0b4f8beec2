"""What the documents say of settings, commands and reasons is what the program knows."""

import re
from pathlib import Path

import pytest
import yaml

from app.cli import COMMANDS
from app.domain.outcomes.reasons import REASONS, WARNINGS
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_explained(name: str) -> None:
    """In `.env.example`, with a comment of its own above it, and in the README's table."""
    example = (ROOT / ".env.example").read_text()
    assert re.search(rf"(?m)^# [^\n]+\n(# [A-Z_]+=.*\n)*# {name}=", example), ".env.example"
    assert re.search(rf"(?m)^\| `{name}` \|", (ROOT / "README.md").read_text()), "README.md"


def test_no_setting_is_explained_that_does_not_exist() -> None:
    """A setting that is gone leaves the documents, too."""
    explained = set(re.findall(r"(?m)^# ([A-Z_]+)=", (ROOT / ".env.example").read_text()))
    listed = set(re.findall(r"(?m)^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text()))
    assert explained == listed == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_default_in_the_example_is_the_default_in_the_code(name: str) -> None:
    """`.env.example` shows what happens when nothing is set."""
    field = Settings.model_fields[name.lower()]
    shown = re.search(rf"(?m)^# {name}=(.*)$", (ROOT / ".env.example").read_text())
    assert shown is not None
    if isinstance(field.default, tuple):
        assert shown[1] == ",".join(map(str, field.default))
    elif isinstance(field.default, bool):
        assert shown[1] == str(field.default).lower()
    elif isinstance(field.default, str | int):
        assert shown[1] == str(field.default)


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_is_without_effect(name: str) -> None:
    """Somebody reads it; a setting that nothing reads is a promise that nobody keeps."""
    readers = (path for path in (ROOT / "app").rglob("*.py") if path.name != "settings.py")
    attribute = re.compile(rf"\.{name.lower()}\b")
    own = re.compile(rf"self\.{name.lower()}\b|settings\.{name.lower()}\b")
    inside = own.search((ROOT / "app" / "settings.py").read_text())
    assert inside or any(attribute.search(path.read_text()) for path in readers)


def test_the_image_takes_no_setting_that_does_not_exist() -> None:
    """A misspelt variable in the compose file would be ignored in silence."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose["x-program"]["environment"]) <= set(SETTINGS)


@pytest.mark.parametrize("word", sorted({*REASONS, *WARNINGS}))
def test_every_reason_and_warning_is_documented_with_its_remedy(word: str) -> None:
    """A caller who meets a word finds it, its code and what to do about it."""
    text = (ROOT / "docs" / "reasons.md").read_text()
    if word in REASONS:
        reason = REASONS[word]
        assert f"| `{word}` | {reason.code.value} | {reason.remedy} |" in text
    else:
        assert f"| `{word}` | {WARNINGS[word]} |" in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command: object) -> None:
    """In docs/operations.md, as one would type it."""
    name = getattr(command, "name", "")
    assert re.search(rf"`(\./run )?{name}[ `]", (ROOT / "docs" / "operations.md").read_text())


@pytest.mark.parametrize(
    "document",
    sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Links between documents point to files that are there."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
