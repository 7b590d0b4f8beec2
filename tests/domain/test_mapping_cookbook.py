"""Each recipe of docs/mapping-cookbook.md gives the result that it shows, and fits the console's form."""

import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.console.mappings.form import canonical, from_form
from app.domain import strict_json
from app.domain.conversion.convert import ConversionPlan, Rules
from app.domain.event import Event, Rejection
from tests.console.test_mapping_form import sent
from tests.domain.conversions import NOW, RULES, compiled

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "mapping-cookbook.md").read_text()
INTRODUCTION, *RECIPES = PAGE.split("\n## ")


def blocks(text: str) -> list[dict[str, Any]]:
    """Return the JSON of a part of the page, with exact numbers."""
    found = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [json.loads(block, parse_float=Decimal) for block in found]


BASE, BASE_EVENT = blocks(INTRODUCTION)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.split("\n")[0])
def test_a_recipe_gives_its_result(recipe: str) -> None:
    """Match keys and custom data are compared by name; hashes are computed."""
    mapping, event, expected = blocks(recipe)
    document = BASE | mapping | {"fields": BASE["fields"] | mapping.get("fields", {})}
    assert result_of(document, BASE_EVENT | event, expected) == hashed(expected)
    made = from_form(sent(document))
    assert canonical(made) == canonical({"action": "send_events", **document})


def test_there_are_recipes() -> None:
    """The page's parts were found."""
    assert len(RECIPES) >= 25


def result_of(document: dict[str, Any], event: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return the members of the conversion that the page shows."""
    mapping = compiled(document)
    outcome = ConversionPlan(mapping, Rules(**RULES)).convert(
        Event(None, RULES["destination_id"], RULES["mapping_id"], event), "id", NOW
    )
    if isinstance(outcome, Rejection):
        return {"rejected": outcome.reason}
    amazon = strict_json.parse(outcome.body)
    assert isinstance(amazon, dict)
    amazon["matchKeys"] = {key["type"]: key["values"][0] for key in amazon["matchKeys"]}
    amazon["customData"] = {row["name"]: row["value"] for row in amazon.get("customData", ())}
    amazon["warnings"] = [warning.code for warning in outcome.warnings]
    return {name: part(amazon.get(name), value) for name, value in expected.items()}


def part(found: Any, expected: Any) -> Any:
    """Return the members of a value that the page shows."""
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return found
    return {name: part(found.get(name), value) for name, value in expected.items()}


def hashed(value: Any) -> Any:
    """Replace each `sha256(x)` by the hash of x."""
    if isinstance(value, dict):
        return {name: hashed(member) for name, member in value.items()}
    text = re.fullmatch(r"sha256\((.*)\)", value) if isinstance(value, str) else None
    return hashlib.sha256(text[1].encode()).hexdigest() if text else value


def test_a_wrong_result_is_noticed() -> None:
    """The comparison fails for another value, another hash and a missing member."""
    document = BASE | {"fields": BASE["fields"] | {"value": "total"}}
    for wrong in ({"value": 2}, {"matchKeys": {"EMAIL": "sha256(x)"}}, {"unitsSold": 1}):
        assert result_of(document, BASE_EVENT | {"total": 1}, wrong) != hashed(wrong)
