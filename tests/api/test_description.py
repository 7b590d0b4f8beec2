"""The description keeps its word: real answers have the shapes that it promises, and the docs name it all."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from app.admin.mappings.field_problems import MAPPING_WORDS, OWN_WORDS, WORDS
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.admin.refusals import ErrorCode
from app.api.access.secured_route import SecuredRoute
from app.api.errors import STATUSES
from app.domain.mapping.document import check_publishable
from app.domain.mapping.example import EXAMPLE_MAPPING
from app.processes.application import ROUTERS
from dev.pages import routes
from tests.api.description import description_of
from tests.api.world import MAPPING, ApiWorld

# The first word of a title: what the request does.
VERBS = {
    "Acknowledge",
    "Change",
    "Check",
    "Compare",
    "Confirm",
    "Count",
    "Create",
    "Delete",
    "Disconnect",
    "Dismiss",
    "Edit",
    "End",
    "Erase",
    "Explain",
    "Hash",
    "List",
    "Mute",
    "Pause",
    "Preview",
    "Publish",
    "Read",
    "Receive",
    "Rename",
    "Replay",
    "Resume",
    "Revoke",
    "Roll",
    "Rotate",
    "Search",
    "Send",
    "Start",
    "Suggest",
    "Suspend",
    "Switch",
    "Test",
}
MODULES = sorted((Path(__file__).parents[2] / "app" / "api").rglob("*.py"))
ROUTES = [
    (method, route.path_format, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, SecuredRoute)
    for method in sorted(route.methods or ())
]


async def test_real_answers_have_the_shapes_they_are_described_with(world: ApiWorld) -> None:
    """A destination's whole life. The client of every test checks each response against the description."""
    made = await world.create_destination()
    destination = f"/destinations/{made['id']}"
    mapping = f"{destination}/mappings/{(await world.create_mapping(made['id']))['id']}"
    key = (await world.call("POST", "/keys", {"name": "k", "scopes": ["events:read"]})).json()
    rename = "/advertisers/580123456789/event-names/ADD_TO_SHOPPING_CART/rename"
    for method, path, body in (
        ("GET", "/destinations", None),
        ("GET", destination, None),
        ("PATCH", destination, {"name": "B"}),
        ("POST", destination + "/connect", None),
        ("POST", destination + "/pause", None),
        ("POST", destination + "/resume", None),
        ("POST", destination + "/disconnect", None),
        ("GET", destination + "/preflight", None),
        ("GET", mapping, None),
        ("POST", mapping + "/publish", None),
        ("GET", destination + "/mappings", None),
        ("GET", mapping + "/versions", None),
        ("GET", "/advertisers/580123456789/event-names", None),
        ("POST", rename, {"to": "Other"}),
        ("GET", "/keys", None),
        ("DELETE", f"/keys/{key['id']}", None),
        ("GET", "/audit", None),
        ("GET", "/catalog", None),
        ("GET", "/health/live", None),
        ("DELETE", destination, None),
    ):
        answer = await world.call(method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.text}"


@pytest.mark.reads_only
@pytest.mark.parametrize("wrong", [{"status": "fine"}, {"status": "ok", "more": 1}, {}], ids=str)
def test_a_response_that_is_not_as_described_fails_its_test(world: ApiWorld, wrong: dict[str, Any]) -> None:
    """A wrong value, a member without description, and a missing member."""
    request = httpx.Request("GET", "http://x/health/live")
    response = httpx.Response(200, json=wrong, headers={"X-Request-Id": "1"}, request=request)
    with pytest.raises(jsonschema.ValidationError):
        description_of(world.app).check(response)


@pytest.mark.reads_only
def test_every_example_has_its_own_shape(world: ApiWorld) -> None:
    """An example is what people copy."""
    description = description_of(world.app)
    examples = 0
    for schema in description.schemas.values():
        for part in (schema, *schema.get("properties", {}).values()):
            for example in part.get("examples", [part["example"]] if "example" in part else []):
                description.validate(part, example)
                examples += 1
    assert examples > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_schema_is_written_by_hand(path: Path) -> None:
    """Models are typed classes: no literal dictionary describes an object."""
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
        if (key.value, value.value) == ("type", "object")
    ]
    assert found == []


def test_the_example_mapping_can_be_published() -> None:
    """And fits the form that describes it."""
    jsonschema.validate(EXAMPLE_MAPPING, DOCUMENT_SCHEMA)
    jsonschema.validate(MAPPING, DOCUMENT_SCHEMA)
    assert check_publishable(dict(EXAMPLE_MAPPING)) == []


@pytest.mark.reads_only
async def test_answers_that_are_no_plain_json_are_described(world: ApiWorld) -> None:
    """An empty batch has the error shape; metrics are text."""
    paths = (await world.call("GET", "/openapi.json")).json()["paths"]
    schema = paths["/events"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]
    assert [each["$ref"].rsplit("/", 1)[-1] for each in schema["anyOf"]] == ["EventResults", "ErrorBody"]
    empty = await world.call("POST", "/events", [])
    assert (empty.status_code, set(empty.json())) == (422, {"error", "detail", "fields"})
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert (await world.call("GET", "/metrics")).headers["content-type"].startswith("text/plain")


@pytest.mark.reads_only
async def test_every_operation_is_described_completely(world: ApiWorld) -> None:
    """Successful responses have schemas, errors have examples, and headers are listed where they are sent."""
    described = (await world.call("GET", "/openapi.json")).json()
    description = description_of(world.app)
    assert described["servers"] == [{"url": world.context.public_url}]
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    for (method, path), operation in operations.items():
        place = f"{method} {path}"
        parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("If-Match" in parameters) is ("412" in operation["responses"]), place
        for status, response in operation["responses"].items():
            assert response["description"], place
            assert "X-Request-Id" in response["headers"], place
            if status.startswith("2"):
                assert response["content"], place
                assert all(content["schema"] for content in response["content"].values()), place
            if status in ("429", "503"):
                assert "Retry-After" in response["headers"], place
            if status.startswith(("4", "5")) and (method, path, status) != ("POST", "/events", "422"):
                content = response["content"]["application/json"]
                examples = [each["value"] for each in content.get("examples", {}).values()]
                for example in examples or [content["example"]]:
                    description.validate(content["schema"], example)
                    assert STATUSES[ErrorCode(example["error"])] == int(status), place
    ambiguous = operations["GET", "/events/{event_id}"]["responses"]["409"]
    assert ambiguous["description"] == "event_ambiguous"


async def test_described_etags_are_sent(world: ApiWorld) -> None:
    """The header is described where it is sent."""
    made = await world.create_destination()
    destination = f"/destinations/{made['id']}"
    mapping = f"{destination}/mappings/{(await world.create_mapping(made['id']))['id']}"
    for path in (destination, mapping):
        assert (await world.call("GET", path)).headers["ETag"]
        stale = await world.call("PATCH", path, {"name": "B"}, headers={"If-Match": '"99"'})
        assert stale.status_code == 412


@pytest.mark.reads_only
def test_every_body_of_an_event_post_has_an_example(world: ApiWorld) -> None:
    """An example for each form that the body may have."""
    description = description_of(world.app)
    content = world.app.openapi()["paths"]["/events"]["post"]["requestBody"]["content"]
    forms = content["application/json"]["schema"]["anyOf"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    for form, example in zip(forms, examples, strict=True):
        description.validate(form, example)
    description.validate(forms[0], json.loads(content["application/x-ndjson"]["example"]))


@pytest.mark.reads_only
def test_every_body_has_a_valid_example(world: ApiWorld) -> None:
    """The reference offers it for a trial."""
    description = description_of(world.app)
    wrong = []
    for path, methods in world.app.openapi()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            examples = [each["value"] for each in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            if not examples:
                wrong.append(f"{method} {path}")
            for example in examples:
                description.validate(content["schema"], example)
    assert wrong == []


@pytest.mark.reads_only
def test_operations_follow_the_journey_of_a_user(world: ApiWorld) -> None:
    """`POST /events` is the first; every tag has a description."""
    described = world.app.openapi()
    assert next(iter(described["paths"])) == "/events"
    used = {
        tag
        for methods in described["paths"].values()
        for operation in methods.values()
        for tag in operation["tags"]
    }
    assert used == {tag["name"] for tag in described["tags"]}
    assert [tag["name"] for tag in described["tags"]][:4] == ["events", "destinations", "sign-in", "mappings"]


@pytest.mark.reads_only
async def test_every_reference_leads_somewhere(world: ApiWorld) -> None:
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
def test_the_title_of_a_route_begins_with_a_verb(method: str, path: str, route: SecuredRoute) -> None:
    """Its title is the summary of the description."""
    assert (route.summary or "").split()[0] in VERBS, f"{method} {path}"


def test_every_problem_of_a_field_has_a_meaning() -> None:
    """Words of the library, of our own validators, and of the mapping language."""
    assert set(routes.PROBLEMS) == {*OWN_WORDS, *WORDS.values(), *MAPPING_WORDS}


@pytest.mark.parametrize(
    ("method", "path", "body", "valid"),
    [
        ("PATCH", "/destinations/{destination_id}", '{"name": "Other"}', True),
        ("PATCH", "/destinations/{destination_id}", "{}", True),
        ("PATCH", "/destinations/{destination_id}", '{"dataset_name": null, "rate_limit": null}', True),
        *(
            ("PATCH", "/destinations/{destination_id}", f'{{"{name}": null}}', False)
            for name in ("name", "region", "currency", "advertiser_id", "identity_profile")
        ),
        ("PATCH", "/organisations/{id}", '{"name": null}', False),
        ("PATCH", "/organisations/{id}", '{"limits": {"destinations": 140.0}}', True),
        ("PATCH", "/organisations/{id}", '{"limits": {"destinations": 1.4E2}}', True),
        ("PATCH", "/organisations/{id}", '{"limits": {"destinations": 140.5}}', False),
        ("POST", "/destinations/{destination_id}/mappings", "{}", False),
        ("POST", "/destinations/{destination_id}/mappings", '{"name": null}', False),
        ("POST", "/destinations/{destination_id}/mappings", '{"name": "Cart"}', True),
        ("POST", "/subjects/erase", "{}", False),
        ("POST", "/subjects/erase", '{"email": null}', False),
        ("POST", "/subjects/find", "{}", False),
    ],
)
async def test_a_body_is_valid_for_the_service_if_it_is_for_its_schema(
    world: ApiWorld, method: str, path: str, body: str, valid: bool
) -> None:
    """Null, absence and whole numbers with a decimal point included."""
    described = world.app.openapi()
    schema = described["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    complete = {**schema, "components": described["components"]}
    assert jsonschema.Draft202012Validator(complete).is_valid(json.loads(body)) is valid
    made = await world.create_destination()
    answer = await world.call(method, path.format(destination_id=made["id"], id="default"), body.encode())
    assert (answer.status_code < 300) is valid, answer.text
    assert answer.status_code in (200, 201, 202, 422)


@pytest.mark.reads_only
async def test_the_description_covers_every_route_with_scope_and_errors(world: ApiWorld) -> None:
    """Security where a key is needed, the one error shape, no trace of the framework's own."""
    described = (await world.call("GET", "/openapi.json", key=None)).json()
    assert described["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in str(described)
    assert set(described["components"]["securitySchemes"]) == {"bearer", "api_key", "basic"}
    operations = 0
    for path, methods in described["paths"].items():
        for operation in methods.values():
            operations += 1
            assert operation["summary"], path
            assert operation["description"], path
            assert "500" in operation["responses"], path
            if operation["security"]:
                assert "401" in operation["responses"]
                assert "Scope: " in operation["description"]
            assert {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"} == set(
                re.findall(r"\{(\w+)", path)
            )
    assert operations >= 30
    body = described["paths"]["/destinations"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/NewDestination"}
