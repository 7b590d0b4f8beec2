"""docs/settings.md.

Names, values and defaults come from `Settings`, sections and texts from `.env.example`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.settings import ROOT, Settings, secret_settings

_INTRODUCTION: Final = """# Settings

Generated from `app/settings.py` and `.env.example` by `./run docs --update`. A test keeps it up to date.

Settings are environment variables, or lines of a file `.env` in the working directory. A variable takes
precedence. A process reads them at its start. If a setting is invalid, a command prints one sentence that
names the variable, never its value, and ends with the [exit code](commands.md) of wrong settings.

A *secret* can be read from a file: set `NAME_FILE` to the path of the file that holds the setting `NAME`.
"""
_SECTION = re.compile(r"# --- (.+)")
_VARIABLE = re.compile(r"# ([A-Z_]+)=.*")


@dataclass(frozen=True, slots=True)
class Explanation:
    """A paragraph of `.env.example` and the settings below it."""

    section: str
    names: tuple[str, ...]
    text: str


def explanations(example: str) -> Iterator[Explanation]:
    """Yield the paragraphs of `.env.example` that explain settings."""
    section, names, lines = "Mode", list[str](), list[str]()
    for line in [*example.partition("\n\n")[2].splitlines(), ""]:
        if found := _SECTION.fullmatch(line):
            section = found[1]
        elif found := _VARIABLE.fullmatch(line):
            names.append(found[1])
        elif line.startswith("#"):
            if names:
                yield Explanation(section, tuple(names), _prose(lines))
                names, lines = [], []
            lines.append(line)
        elif names:
            yield Explanation(section, tuple(names), _prose(lines))
            names, lines = [], []


def page() -> str:
    """Return docs/settings.md."""
    parts, section = [_INTRODUCTION], ""
    for explanation in explanations((ROOT / ".env.example").read_text()):
        if explanation.section != section:
            section = explanation.section
            parts.append(f"\n## {section}\n\n| setting | values | default | meaning |\n|---|---|---|---|\n")
        parts += _rows(explanation)
    return "".join(parts)


def _rows(explanation: Explanation) -> Iterator[str]:
    first, *_ = explanation.names
    for name in explanation.names:
        text = explanation.text if name == first else f"see `{first}`"
        field = Settings.model_fields[name.lower()]
        yield f"| `{name}` | {_values(name, field)} | {_default(field)} | {text} |\n"


def _prose(lines: list[str]) -> str:
    """Return comment lines as a cell; lines indented by three spaces are commands."""
    text = " ".join(f"`{line[4:]}`." if line.startswith("#   ") else line[2:] for line in lines)
    text = re.sub(r"\((docs/(?:\w+/)*([\w-]+)\.md)\)", r"([\2](\2.md))", text)
    text = re.sub(r"(?<![`{])(https?|smtps?)://[A-Z{][^\s,;]*[A-Z}]", lambda found: f"`{found[0]}`", text)
    return text.replace("|", "\\|").replace("`.`.", "`.")


def _values(name: str, field: FieldInfo) -> str:
    if name.lower() in secret_settings():
        return "secret"
    kinds = [field.annotation, *get_args(field.annotation)]
    if options := [kind for kind in kinds if get_origin(kind) is Literal]:
        return ", ".join(f"`{option}`" for option in get_args(options[0]))
    limits = [*field.metadata, *(each for kind in kinds for each in _limits_of(kind))]
    low = [limit.ge for limit in limits if isinstance(limit, annotated_types.Ge)]
    high = [limit.le for limit in limits if isinstance(limit, annotated_types.Le)]
    if low and high and field.annotation is not tuple:
        return f"{low[0]:,} to {high[0]:,}"
    return "`true`, `false`" if field.annotation is bool else "text"


def _limits_of(kind: object) -> Iterator[object]:
    """Yield the limits of an annotated type, also of one within `Optional`."""
    for each in getattr(kind, "__metadata__", ()):
        yield from getattr(each, "metadata", [each])


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "depends"
    if default is None or default in ("", ()):
        return "–"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{str(default).removeprefix(f'{ROOT}/')}`"
