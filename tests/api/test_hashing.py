"""`POST /identity/hash` shows what a value becomes, and keeps nothing of it."""

import hashlib
import logging

import pytest

from app.admin.privacy.hash_value import HashRequest, hash_value
from tests.api.world import ApiWorld
from tests.tables import cases


@pytest.mark.reads_only
@cases(
    ("body", "cleaned", "sent"),
    {
        "an address": ({"field": "email", "value": " Ada@Example.com "}, "ada@example.com", "hash"),
        "a national phone": ({"field": "phone", "value": "(202) 555-0173"}, "12025550173", "hash"),
        "by country": ({"field": "phone", "value": "030 901820", "country": "DE"}, "4930901820", "hash"),
        "an id goes unhashed": (
            {"field": "maid", "value": "38400000-8cf0-11bd-b23e-10b96e40000d"},
            "38400000-8cf0-11bd-b23e-10b96e40000d",
            "same",
        ),
    },
)
async def test_the_cleaned_form_and_what_is_sent(
    world: ApiWorld, body: dict[str, str], cleaned: str, sent: str
) -> None:
    """As the pipeline would make it."""
    answer = (await world.call("POST", "/identity/hash", body)).json()
    assert (answer["cleaned"], answer["rule"]) == (cleaned, f"amazon.{body['field']}")
    assert answer["sent"] == (hashlib.sha256(cleaned.encode()).hexdigest() if sent == "hash" else cleaned)


@pytest.mark.reads_only
async def test_a_digest_has_no_normalised_form(world: ApiWorld) -> None:
    digest = hashlib.sha256(b"ada@example.com").hexdigest()
    answer = (await world.call("POST", "/identity/hash", {"field": "email", "value": digest.upper()})).json()
    assert (answer["cleaned"], answer["sent"], answer["rule"]) == (None, digest, "already_hashed")


def test_no_value_is_in_a_repr() -> None:
    assert "ada@" not in repr(hash_value(HashRequest(field="email", value="ada@example.com")))


@pytest.mark.reads_only
async def test_a_value_that_makes_no_key_says_why(world: ApiWorld) -> None:
    """A word, and nothing else."""
    answer = (await world.call("POST", "/identity/hash", {"field": "phone", "value": "null"})).json()
    assert (answer["sent"], answer["cleaned"]) == (None, None)
    assert answer["dropped"] == "placeholder"


@pytest.mark.reads_only
async def test_the_value_is_neither_stored_nor_repeated(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """No log line, no audit row; and a refusal does not show it."""
    caplog.set_level(logging.DEBUG)
    value = "quetzal.canary@example.com"
    await world.call("POST", "/identity/hash", {"field": "email", "value": value})
    wrong = await world.call("POST", "/identity/hash", {"field": value, "value": value, "x": value})
    assert wrong.status_code == 422
    assert value not in wrong.text
    assert value not in caplog.text
    assert await world.actions() == []


@pytest.mark.reads_only
async def test_a_foreign_hash_is_explained_and_not_stored(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The scope is `destinations:read`, and a refusal shows neither value nor hash."""
    caplog.set_level(logging.DEBUG)
    value, digest = "+14155550132", hashlib.sha256(b"+14155550132").hexdigest()
    body = {"field": "phone", "value": value, "hash": digest}
    answer = await world.call("POST", "/identity/explain-hash", body, status=200)
    assert answer.json() == {
        "matches_amazon": False,
        "rule": "e164_with_plus",
        "rules": ["e164_with_plus"],
        "expected": hashlib.sha256(b"14155550132").hexdigest(),
        "remedy": "Remove the + before hashing: Amazon wants digits only, with the country code.",
    }
    for wrong in ({"field": "phone", "value": value}, {**body, "country": "XX"}, {**body, "x": digest}):
        refused = await world.call("POST", "/identity/explain-hash", wrong, status=422)
        assert not {value, digest} & set(refused.text.split('"'))
    assert value not in caplog.text
    assert digest not in caplog.text
    assert await world.actions() == []
