"""docs/commands.md, from the text in `commands.md` beside this module and the parsers of the commands."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.cli import COMMANDS, _parser

_EXPLAINED: Final = {"help", "api", "key_file", "json", "organisation"}  # below the table, for all commands

_MORE: Final = {
    "apply": "configuration-as-code.md",
    "audit": "threat-model.md#remaining-risks",
    "backfill": "backfill.md",
    "backup": "backup.md#taking-backups",
    "balance": "repair.md#balance",
    "bench": "performance.md#how-to-measure",
    "campaign": "campaigns.md",
    "conformance": "amazon-cases.md#against-a-stand-in",
    "database-roles": "production.md#database-roles",
    "drill": "evidence/drills.md",
    "erase": "data-protection.md#erasure",
    "events tail": "#live-tail",
    "keys create": "api.md#keys",
    "plan": "configuration-as-code.md",
    "replay": "delivery.md#replay",
    "restore": "backup.md#restoring",
    "rotate-keys": "keys.md#change-the-encryption-keys",
    "scan-personal-data": "data-protection.md#prove-it-on-a-running-system",
    "sessions end": "console.md#people-openid-connect",
    "up": "#on-one-machine-run",
}
"""The page or section that says more about a command."""

_FEW: Final = 5  # choices that a row can name


def page() -> str:
    """Return docs/commands.md."""
    rows = [row for command in COMMANDS for row in _rows(command.name, command.help, _of(command.name))]
    table = "\n".join(["| command | what it does |", "|---|---|", *rows])
    return Path(__file__).with_name("commands.md").read_text().replace("{commands}", table)


def _of(name: str) -> argparse.ArgumentParser:
    commands = next(one for one in _parser([name])._actions if isinstance(one, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser


def _rows(name: str, text: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for word, child in action.choices.items():
                yield from _rows(f"{name} {word}", texts[word], child)
            return
    own = [action for action in parser._actions if action.dest not in _EXPLAINED]
    words = [name, *(_typed(action) for action in own if not action.option_strings)]
    options = [_described(parser, action) for action in own]
    sentence = "; ".join([text, *filter(None, options)]).replace("|", r"\|")
    more = f" ([more]({_MORE[name]}))" if name in _MORE else ""
    yield f"| `{' '.join(words)}` | {sentence}{more} |"


def _typed(action: argparse.Action) -> str:
    choices = list(action.choices or ())
    word = str(choices[0] if len(choices) == 1 else action.metavar or action.dest.upper())
    if action.nargs == "?":
        return f"[{word}]"
    return f"{word.rstrip(' …')}…" if action.nargs in {"+", "*", argparse.REMAINDER} else word


def _described(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return an option or an argument with what its help says; nothing for an argument without help."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    choices = [str(choice) for choice in action.choices or ()]
    is_short = 1 < len(choices) <= _FEW
    if not action.option_strings:
        said = "; ".join([", ".join(choices)] * is_short + [text] * bool(text))
        return f"`{_typed(action)}`: {said}" if said else ""
    value = " or ".join(choices) if is_short else action.metavar or "…"
    value = "" if action.nargs == 0 else f" {value}"
    return f"`{action.option_strings[-1]}{value}`{': ' * bool(text)}{text}"
