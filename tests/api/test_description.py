"""The description keeps its word: real answers have the shapes that it promises, and the docs name it all."""

import ast
import json
import re
from pathlib import Path

import jsonschema
import pytest

from app.admin import ErrorCode
from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS, WORDS
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.api.errors import STATUSES
from app.domain.mapping.document import check_publishable
from app.domain.mapping.presets import EXAMPLE_MAPPING
from dev.pages import routes
from tests.api.description import description_of
from tests.api.world import MAPPING, ApiWorld

MODULES = sorted((Path(__file__).parents[2] / "app" / "api").rglob("*.py"))


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


def test_the_example_mapping_fits_the_form_and_can_be_published() -> None:
    """In a source, `default` and `on_error` may be null, as the members of a document may."""
    source = {"path": "user.country", "default": None, "on_error": None}
    for document in (EXAMPLE_MAPPING, {**EXAMPLE_MAPPING, "country_code": source}, MAPPING):
        assert check_publishable(dict(document)) == []
        jsonschema.validate(document, DOCUMENT_SCHEMA)


@pytest.mark.reads_only
async def test_answers_that_are_no_plain_json_are_described(world: ApiWorld) -> None:
    """An empty batch has the error shape; metrics are text."""
    paths = (await world.call("GET", "/openapi.json")).json()["paths"]
    schema = paths["/events"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]
    assert [each["$ref"].rsplit("/", 1)[-1] for each in schema["anyOf"]] == ["EventResults", "ErrorBody"]
    empty = await world.call("POST", "/events", [])
    assert (empty.status_code, set(empty.json())) == (422, {"error", "detail", "fields"})
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    refused = paths["/oauth/amazon/callback"]["get"]["responses"]["400"]["content"]
    assert list(refused) == ["application/json", "text/html"]
    assert (await world.call("GET", "/metrics")).headers["content-type"].startswith("text/plain")


@pytest.mark.reads_only
async def test_every_operation_is_described_completely(world: ApiWorld) -> None:
    """Successful responses have schemas, errors have examples, and headers are listed where they are sent."""
    described = (await world.call("GET", "/openapi.json", key=None)).json()
    description = description_of(world.app)
    assert described["openapi"].startswith("3.1")
    assert described["servers"] == [{"url": world.context.public_url}]
    assert "HTTPValidationError" not in str(described)
    assert set(described["components"]["securitySchemes"]) == {"bearer", "api_key", "basic"}
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    for (method, path), operation in operations.items():
        place = f"{method} {path}"
        assert operation["summary"], place
        assert operation["description"], place
        assert "500" in operation["responses"], place
        for part in (operation["security"], "Scope: " in operation["description"]):
            assert bool(part) is ("401" in operation["responses"]), place
        parameters = operation.get("parameters", [])
        assert ("If-Match" in {each["name"] for each in parameters}) is ("412" in operation["responses"]), (
            place
        )
        of_path = {each["name"] for each in parameters if each["in"] == "path"}
        assert of_path == set(re.findall(r"\{(\w+)", path)), place
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
    assert len(operations) >= 30
    ambiguous = operations["GET", "/events/{event_id}"]["responses"]["409"]
    assert ambiguous["description"] == "event_ambiguous"


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
    found = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)))
    assert found
    for reference in found:
        _, _, kind, name = reference.split("/")
        assert name in described["components"][kind]


def test_every_problem_of_a_field_has_a_meaning() -> None:
    """Words of the library, of our own validators, and of the mapping language."""
    assert set(routes.PROBLEMS) == {*OWN_WORDS, *WORDS.values(), *MAPPING_WORDS}


BODIES = [
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
]


async def test_a_body_is_valid_for_the_service_if_it_is_for_its_schema(world: ApiWorld) -> None:
    """Null, absence and whole numbers with a decimal point included."""
    described = world.app.openapi()
    for method, path, body, valid in BODIES:
        content = described["paths"][path][method.lower()]["requestBody"]["content"]
        complete = {**content["application/json"]["schema"], "components": described["components"]}
        assert jsonschema.Draft202012Validator(complete).is_valid(json.loads(body)) is valid, (path, body)
        made = await world.create_destination()
        answer = await world.call(method, path.format(destination_id=made["id"], id="default"), body.encode())
        assert (answer.status_code < 300) is valid, (path, body, answer.text)
        assert answer.status_code in (200, 201, 202, 422)
