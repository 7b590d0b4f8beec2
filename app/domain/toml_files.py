"""Read the tables of rules and texts that stand in TOML files beside their modules."""

import tomllib
from pathlib import Path
from typing import Any


def read_toml(module: str, name: str | None = None) -> dict[str, Any]:
    """Return the content of the TOML file beside a module's file. It has the module's name, or `name`."""
    path = Path(module)
    stem = path.name.partition(".")[0]  # a compiled module's file has two suffixes
    return tomllib.loads(path.with_name(f"{name or stem}.toml").read_text("utf-8"))
