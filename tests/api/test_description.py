"""The description keeps its word: real answers have the shapes that it promises, and the docs name it all."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS, WORDS
from app.admin.mapping_schema import DOCUMENT_SCHEMA
from app.admin.refusals import ErrorCode
from app.api.errors import STATUSES
from app.api.openapi import READS_IF_MATCH, RETURNS_ETAG
from app.api.post_events_schema import EVENTS_BODY
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
        "SubjectSearch",  # tests/pipeline/test_processes_with_roles
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


async def test_every_operation_is_described_completely(world: World) -> None:
    """Successful responses have schemas, errors have examples, and headers are listed where they are sent."""
    described = (await world.call("GET", "/openapi.json")).json()
    assert described["servers"] == [{"url": world.context.public_url}]
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    for named in RETURNS_ETAG | READS_IF_MATCH:
        assert named in operations
    for (method, path), operation in operations.items():
        place = f"{method} {path}"
        parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("If-Match" in parameters) is ("412" in operation["responses"]), place
        for status, response in operation["responses"].items():
            assert response["description"], place
            assert "X-Request-Id" in response["headers"], place
            if status.startswith("2"):
                assert all(content["schema"] for content in response["content"].values()), place
            if status in ("429", "503"):
                assert "Retry-After" in response["headers"], place
            if status.startswith(("4", "5")) and (method, path, status) != ("POST", "/events", "422"):
                example = response["content"]["application/json"]["example"]
                jsonschema.validate(example, described["components"]["schemas"]["Error"])
                assert STATUSES[ErrorCode(example["error"])] == int(status), place
    ambiguous = operations["GET", "/events/{event_id}"]["responses"]["409"]
    assert ambiguous["description"] == "event_ambiguous"


async def test_described_etags_are_sent(world: World) -> None:
    """The header is described where it is sent."""
    made = await world.made()
    destination = f"/destinations/{made['id']}"
    mapping = f"{destination}/mappings/{(await world.mapped(made['id']))['id']}"
    for path in (destination, mapping):
        assert (await world.call("GET", path)).headers["ETag"]
        stale = await world.call("PATCH", path, {"name": "B"}, headers={"If-Match": '"99"'})
        assert stale.status_code == 412


def test_every_body_of_an_event_post_has_an_example() -> None:
    """An example for each form that the body may have."""
    content = EVENTS_BODY["content"]["application/json"]
    assert len(content["examples"]) == len(content["schema"]["oneOf"])
    for example in content["examples"].values():
        events = example["value"]
        events = (
            events.get("events") or events.get("rows") or [events] if isinstance(events, dict) else events
        )
        for event in events:
            jsonschema.validate(event, SHAPES["Event"])


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
    assert found
    for reference in found:
        _, _, kind, name = reference.split("/")
        assert name in described["components"][kind]


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
