"""Configuration files as tests write them."""

import functools
import json
from typing import Any

import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config_as_code import apply as applying
from app.config_as_code import existing
from app.config_as_code.apply import AppliedPlan, ApplyOptions
from app.config_as_code.file import DesiredDestination, InvalidFile, read
from tests.api.world import DESTINATION, MAPPING

BY = "cli:test"
options = functools.partial(ApplyOptions, BY, pepper=b"pepper")


def file(*wanted: dict[str, Any]) -> str:
    """Write a file of these destinations."""
    # Through JSON: what two destinations share would become an alias.
    apart = json.loads(json.dumps({"version": 1, "destinations": wanted}))
    return yaml.safe_dump(apart, sort_keys=False)


def acme(*maps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A destination of a file; `maps` are its mappings, one Cart if none is given."""
    return {**DESTINATION, **changes, "mappings": list(maps) or [MAPPING]}


def wanted(text: str) -> list[DesiredDestination]:
    """Read a file that is right."""
    found = read(text)
    assert not isinstance(found, InvalidFile), found
    return found


async def apply(engine: AsyncEngine, text: str, *, prune: bool = False, dry_run: bool = False) -> AppliedPlan:
    """Apply a file that can be applied."""
    done = await applying.apply(engine, wanted(text), options(prune), dry_run=dry_run)
    assert isinstance(done, AppliedPlan), done
    return done


plan = functools.partial(apply, dry_run=True)


async def refused(engine: AsyncEngine, text: str) -> InvalidFile:
    """Apply a file that cannot be applied; planning it must say the same."""
    found = read(text)
    if isinstance(found, InvalidFile):
        return found
    applied = await applying.apply(engine, found, options())
    planned = await applying.apply(engine, found, options(), dry_run=True)
    assert isinstance(applied, InvalidFile), applied
    assert planned == applied
    return applied


async def exported(engine: AsyncEngine, *, ids: bool = True) -> str:
    """Export everything."""
    async with engine.connect() as connection:
        return existing.export(await existing.stored_configuration(connection), ids=ids)
