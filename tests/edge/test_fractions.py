"""Found by generated requests: a fraction in place of an object passed for an object without fields."""

import pytest
from pydantic import TypeAdapter, ValidationError

from app.admin import inputs
from app.admin.destinations.settings import NewDestination
from app.config_as_code import model as files
from app.domain.strict_json import parse
from app.processes import application

# They import every body, so that the list does not depend on the tests that were collected before.
ALL_BODIES = (application, files)
BODIES = sorted(inputs.RequestBody.__subclasses__(), key=lambda model: model.__name__)


@pytest.mark.parametrize("model", BODIES)
@pytest.mark.parametrize("body", [b"1.5", b"-2.5e173", b"1e-38", b"7", b'"x"', b"[]", b"true"])
def test_no_request_body_is_read_from_what_is_no_object(model: type[inputs.RequestBody], body: bytes) -> None:
    """Validated as FastAPI does, with `from_attributes`."""
    with pytest.raises(ValidationError):
        TypeAdapter(model | None).validate_python(parse(body), from_attributes=True)


def test_no_member_is_read_from_a_fraction() -> None:
    """A rate limit of 1.5 was the default rate limit."""
    body = parse(
        b'{"name": "Acme", "advertiser_id": "580123", "region": "NA", "currency": "USD", "rate_limit": 1.5}'
    )
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(NewDestination).validate_python(body, from_attributes=True)
    assert [error["loc"] for error in refused.value.errors()] == [("rate_limit",)]
