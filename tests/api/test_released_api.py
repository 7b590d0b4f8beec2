"""No change removes or narrows what clients of the last release rely on (docs/releasing.md).

`released_openapi.json` is the description of d507e34a without its prose.
"""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from app.processes.application import api_description
from dev.released_api import narrowed, skeleton

RELEASED: Final = json.loads(Path(__file__).with_name("released_openapi.json").read_text())

ACCEPTED: Final = {
    r"GET \S+ parameter (action|kind|event_type|reason): string no longer accepted": (
        "an unknown word of a filter is 422; it silently matched nothing before"
    ),
    r"POST \S+/(replay|dead-letters/dismiss) body\.reason: string no longer accepted": (
        "an unknown reason is 422; it silently matched nothing before"
    ),
    r"PATCH \S+ body\.(\w+): null no longer accepted": (
        "the service refused null before; now the description says so"
    ),
    r"POST /subjects/(erase|find) body\.\w+: null no longer accepted": "null identifies no person",
    r"(POST|PATCH) \S+/mappings\S* body\.(consent|country_code|custom_data|event_\w+|fields)\b.*": (
        "the description names the limits of sources, which the service enforced before"
    ),
    r"POST \S+/mappings body\.name: required": "the service refused a mapping without a name before",
    r"POST \S+/backtest 200\.(uncertain: removed|unclear: array is a new type)": (
        "`unclear` lists what samples cannot show; `uncertain` was a number of other events"
    ),
    r"GET \S+/events 200\.items\[\]\.accepted_at: null is a new type": (
        "lists and search share one model; in this list it is never null"
    ),
    r"\S+ \S+ 20\d\.\S*event_name: (any value|object) is a new type": "`const` was accepted before",
    r"POST /keys/\{key_id\}/rotate: removed": "create a second key, then revoke the first",
    r"\S+ /keys\S* \d+\.(items\[\]\.)?replaces: removed": "no key replaces another one",
    r"\S+ /keys\S* \d+\.(items\[\]\.)?scopes\[\]: no longer a fixed word": (
        "the description of the request that creates a key lists the scopes"
    ),
    r"\S+ /destinations\S* \d+\.warnings\[\]\.destination_id: removed": (
        "no warning names another destination"
    ),
    r"GET \S+/stats 200\.dead_letters\[\]\.(class|remedy): removed": "`reason` says both",
    r"GET \S+ 200\.\S*dead_letter: removed": "the reason of the event says it",
    r"POST /subjects/find 200\.(items\[\]\.table|pending_erasures): removed": (
        "there is one table; the receipt of an erasure says whether it is finished"
    ),
    r"POST \S+/preflight: removed": "an accepted event proves what persons confirmed",
    r"GET \S+/replays\S* 200\.(items\[\]\.)?status: null is a new type": (
        "a replay can select dead and expired events"
    ),
}
"""Changes that were made before the first release, as regular expressions, each with its reason."""


@pytest.fixture(scope="module")
def changes() -> list[str]:
    return narrowed(RELEASED, api_description("http://localhost:8000"))


def test_nothing_is_removed_or_narrowed(changes: list[str]) -> None:
    """If a change is meant, it needs a major version, or before the first release a row above."""
    assert [change for change in changes if not any(re.fullmatch(each, change) for each in ACCEPTED)] == []


@pytest.mark.parametrize("pattern", ACCEPTED)
def test_an_accepted_change_was_made(changes: list[str], pattern: str) -> None:
    """A row without a change would hide a later one."""
    assert any(re.fullmatch(pattern, change) for change in changes)


def _schema(api: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = api["components"]["schemas"][name]
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda api: api["paths"].pop("/catalog"), r"GET /catalog: removed"),
        (
            lambda api: _schema(api, "DestinationView")["properties"].pop("currency"),
            r"POST /destinations/\{destination_id\}/pause 200\.currency: removed",
        ),
        (
            lambda api: _schema(api, "DestinationView")["required"].remove("currency"),
            r"POST /destinations/\{destination_id\}/pause 200\.currency: may be absent",
        ),
        (
            lambda api: _schema(api, "DestinationView")["properties"].update(
                currency={"type": ["string", "null"]}
            ),
            r"POST /destinations/\{destination_id\}/pause 200\.currency: null is a new type",
        ),
        (
            lambda api: _schema(api, "NewDestination")["required"].append("dataset_name"),
            r"POST /destinations body\.dataset_name: required",
        ),
        (
            lambda api: _schema(api, "NewDestination")["properties"]["name"].update(maxLength=50),
            r"POST /destinations body\.name: maxLength 200 became 50",
        ),
        (
            lambda api: _schema(api, "NewDestination")["properties"]["region"]["enum"].remove("FE"),
            r"POST /destinations body\.region: \"FE\" no longer accepted",
        ),
        (
            lambda api: api["paths"]["/catalog"]["get"].update(parameters=[]),
            r"GET /catalog parameter q: removed",
        ),
        (
            lambda api: api["paths"]["/incidents"]["get"]["parameters"].append(
                {"name": "page", "in": "query", "required": True, "schema": {"type": "integer"}}
            ),
            r"GET /incidents parameter page: required",
        ),
    ],
)
def test_a_breaking_change_is_found(change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """And reported with its place, as one of the changes that it causes."""
    current = copy.deepcopy(RELEASED)
    change(current)
    assert any(re.fullmatch(expected, each) for each in narrowed(RELEASED, current))


def test_additions_are_no_changes() -> None:
    """New routes, members, values of responses and optional parameters are what a minor release adds."""
    current = copy.deepcopy(RELEASED)
    current["paths"]["/new"] = {"get": {"responses": {}}}
    for name in ("DestinationView", "NewDestination"):
        _schema(current, name)["properties"]["new"] = {"type": "string"}
    current["paths"]["/catalog"]["get"]["parameters"].append(
        {"name": "new", "in": "query", "schema": {"type": "string"}}
    )
    assert narrowed(RELEASED, current) == []


def test_the_stored_description_has_no_prose() -> None:
    """So that a better sentence changes nothing."""
    assert skeleton(RELEASED) == RELEASED
