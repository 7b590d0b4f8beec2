"""`show-fast-path FILE`: print the Python function that the service generates for a mapping."""

import argparse
import inspect
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from app.commands.failure import CommandFailed
from app.domain.conversion.convert import Rules
from app.domain.conversion.fast_path import compile_fast_path
from app.domain.destination import Region
from app.domain.identity import Profile
from app.domain.mapping.document import Mapping, compile_mapping
from app.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the mapping document as JSON, - for standard input")
    parser.add_argument("--profile", choices=[profile.value for profile in Profile], default="amazon")
    parser.add_argument("--currency", default="USD", help="the destination's currency")


def run(_settings: Settings, options: argparse.Namespace) -> int:
    """Print the constants of the function as comments, then its source.

    Raises CommandFailed if no function can be generated for the mapping.
    """
    mapping = _read(options.file)
    rules = Rules(
        destination_id="dst_example",
        mapping_id="map_example",
        mapping_version=1,
        region=Region.NA,
        profile=Profile(options.profile),
        currency=options.currency,
        dataset_name=None,
        pins={},
    )
    fast_path: Any = compile_fast_path(mapping, rules)
    if fast_path is None:
        raise CommandFailed(
            "This mapping has no fast path: app.domain.conversion.convert converts all its events."
        )
    for name, value in fast_path.__globals__.items():
        if name.startswith("bound_"):
            sys.stdout.write(f"# {name} = {_describe(value)}\n")
    sys.stdout.write(inspect.getsource(fast_path) + "\n")
    return 0


def _read(file: str) -> Mapping:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{file}: cannot be read as JSON ({type(error).__name__}).") from None
    compiled = compile_mapping(document if isinstance(document, dict) else {})
    if isinstance(compiled, Mapping):
        return compiled
    raise CommandFailed("\n".join(f"{problem.path}: {problem.sentence}" for problem in compiled))


def _describe(value: Any) -> str:
    """Return the literal of a text, number or tuple, or else the name of the function or type."""
    if isinstance(value, str | int | tuple):
        return repr(value)
    value = value.func if isinstance(value, partial) else value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
