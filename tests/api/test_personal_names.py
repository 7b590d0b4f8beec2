"""A name or note that holds an email address or a phone number is refused, not stored and not repeated."""

import json
from typing import Any

import pytest

from tests.api.test_incident_routes import INCIDENT, opened
from tests.api.world import DESTINATION, MAPPING, ApiWorld

EMAIL, PHONE = "for ada@example.com", "call +1 (206) 555-0142"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/destinations", {**DESTINATION, "name": None}, "name"),
        ("PATCH", "/destinations/{dst}", {"name": None}, "name"),
        ("POST", "/destinations/{dst}/mappings", {**MAPPING, "name": None}, "name"),
        ("PATCH", "/destinations/{dst}/mappings/{map}", {"name": None}, "name"),
        (
            "PATCH",
            "/destinations/{dst}/mappings/{map}",
            {"custom_data": [{"name": "a", "const": None}]},
            "custom_data[0]",
        ),
        ("POST", "/destinations/{dst}/mappings/{map}/publish", {"note": None}, "note"),
        ("POST", "/keys", {"name": None, "scopes": ["events:write"]}, "name"),
        ("POST", "/organisations", {"name": None}, "name"),
        ("PATCH", "/organisations/default", {"name": None}, "name"),
        ("POST", f"/incidents/{INCIDENT}/acknowledge", {"note": None}, "note"),
    ],
)
async def test_is_refused(
    world: ApiWorld, method: str, path: str, body: dict[str, Any], field: str, acme_id: str
) -> None:
    """With the field and the problem `personal`."""
    saved = (await world.call("POST", f"/destinations/{acme_id}/mappings", MAPPING)).json()["id"]
    await opened(world, acme_id)
    address = path.format(dst=acme_id, map=saved)
    for text in (EMAIL, PHONE):
        filled = json.dumps(body).replace("null", json.dumps(text))
        answer = await world.call(method, address, filled.encode(), status=422)
        assert answer.json()["fields"] == [{"field": field, "problem": "personal"}]
        assert "ada" not in answer.text
        assert "555" not in answer.text
