"""The description keeps its word: real answers have the shapes that it promises, and the docs name it all."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS, WORDS
from app.admin.mapping_schema import DOCUMENT_SCHEMA
from app.admin.refusals import ErrorCode
from app.api.errors import STATUSES
from app.api.response_schemas import ANSWERS, SHAPES
from app.api.secured_route import SecuredRoute, scopes_of
from app.domain.mapping.document import check_publishable
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.processes.application import ROUTERS
from tests.api.world import MAPPING, World

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ROUTES = [
    (method, route.path_format, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, SecuredRoute)
    for method in sorted(route.methods or ())
]


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a shape that takes no member which it does not name, so that none goes undescribed."""
    return schema if "oneOf" in schema else {**schema, "additionalProperties": False}


async def test_real_answers_have_the_shapes_they_are_described_with(world: World) -> None:
    """One of each, through a destination's whole life."""
    made = await world.made()
    destination = f"/destinations/{made['id']}"
    mapping = f"{destination}/mappings/{(await world.mapped(made['id']))['id']}"
    key = (await world.call("POST", "/keys", {"name": "k", "scopes": ["events:read"]})).json()
    rename = "/advertisers/580123456789/event-names/ADD_TO_SHOPPING_CART/rename"
    seen = set()
    for method, path, body, shape in (
        ("GET", "/destinations", None, "Destination*"),
        ("GET", destination, None, "Destination"),
        ("PATCH", destination, {"name": "B"}, "Destination"),
        ("POST", destination + "/connect", None, "SignInPage"),
        ("GET", destination + "/preflight", None, "Preflight"),
        ("GET", mapping, None, "Mapping"),
        ("POST", mapping + "/publish", None, "Mapping"),
        ("GET", destination + "/mappings", None, "Mapping*"),
        ("GET", mapping + "/versions", None, "MappingVersion*"),
        ("GET", "/advertisers/580123456789/event-names", None, "Pin*"),
        ("POST", rename, {"to": "Other"}, "Renamed"),
        ("GET", "/keys", None, "Key*"),
        ("DELETE", f"/keys/{key['id']}", None, "Key"),
        ("GET", "/audit", None, "Act*"),
        ("GET", "/health/live", None, "Live"),
        ("DELETE", destination, None, "Destination"),
    ):
        answer = (await world.call(method, path, body)).json()
        items = answer["items"] if shape.endswith("*") else [answer]
        assert items, path
        for item in items:
            jsonschema.validate(item, closed(SHAPES[shape.rstrip("*")]))
        seen.add(shape.rstrip("*"))
    jsonschema.validate(made, closed(SHAPES["Destination"]))
    jsonschema.validate(key, closed(SHAPES["Key"]))
    assert {shape.rstrip("*") for shape in ANSWERS.values()} - seen == {
        "Backtest",  # test_learned
        "EventSchema",  # test_learned
        "Connected",  # test_oauth
        "ConsentRecord",  # tests/pipeline/test_consent_records
        "Hashed",  # test_hashing
        "Erasure",  # tests/pipeline/test_erasing
        "ErasureReceipt",
        "EventHistory",  # tests/pipeline/test_event_histories
        "ListedEvent",
        "Stats",
        "Replayed",
        "StatusCallback",  # test_status_callback
        "DestinationType",  # test_reading_bodies
        "Previewed",  # test_mappings
        "Ready",  # needs a durable cluster
    }


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "example" in shape])
def test_every_example_has_its_own_shape(name: str) -> None:
    """An example is what people copy."""
    jsonschema.validate(SHAPES[name]["example"], SHAPES[name])


def test_the_example_mapping_can_be_published() -> None:
    """And fits the form that describes it."""
    jsonschema.validate(EXAMPLE_MAPPING, DOCUMENT_SCHEMA)
    jsonschema.validate(MAPPING, DOCUMENT_SCHEMA)
    assert check_publishable(dict(EXAMPLE_MAPPING)) == []


async def test_answers_that_are_no_plain_json_are_described(world: World) -> None:
    """An empty batch has the error shape; metrics are text."""
    paths = (await world.call("GET", "/openapi.json")).json()["paths"]
    schema = paths["/events"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]
    assert [one["$ref"].rsplit("/", 1)[-1] for one in schema["oneOf"]] == ["EventResults", "Error"]
    empty = await world.call("POST", "/events", [])
    assert (empty.status_code, set(empty.json())) == (422, {"error", "detail", "fields"})
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert (await world.call("GET", "/metrics")).headers["content-type"].startswith("text/plain")


async def test_every_reference_leads_somewhere(world: World) -> None:
    """No `$ref` dangles."""
    described = (await world.call("GET", "/openapi.json")).json()
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(described)
    names = {reference.removeprefix("#/components/schemas/") for reference in found}
    assert names
    assert names <= set(described["components"]["schemas"])


@pytest.mark.parametrize(("method", "path", "route"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES])
def test_every_route_is_in_the_docs_with_its_scopes(method: str, path: str, route: SecuredRoute) -> None:
    """A line of the table of routes."""
    line = next((line for line in API.splitlines() if line.startswith(f"| `{method} {path}` |")), None)
    assert line is not None
    for scope in scopes_of(route.endpoint):
        assert f"`{scope}`" in line


@pytest.mark.parametrize("word", list(ErrorCode))
def test_every_error_is_in_the_docs_with_its_status(word: ErrorCode) -> None:
    """A line of the table of errors."""
    assert f"| `{word}` | {STATUSES[word]} |" in API


@pytest.mark.parametrize("word", sorted({*OWN_WORDS, *WORDS.values(), *MAPPING_WORDS}))
def test_every_problem_of_a_field_is_in_the_docs(word: str) -> None:
    """A line of the table of problems."""
    assert f"| `{word}` |" in API
