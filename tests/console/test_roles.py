"""Who may do what at the console: every page and every act, tried by each role."""

import html
import itertools
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.admin.access.people import ROLES, PersonRole
from tests.api.world import ApiWorld
from tests.console.test_confirmations import Case
from tests.console.test_sessions import LOCKED, csrf, sign_in

ORDER = [PersonRole.VIEWER, PersonRole.OPERATOR, PersonRole.EDITOR, PersonRole.ADMIN]

D = "/console/destinations/{destination_id}"
M = D + "/mappings/{mapping_id}"

# The least role for each act, in plain sight: not read from the routes, so that it can disagree with them.
ACTS = {
    ("POST", "/console/sign-out"): "viewer",
    ("POST", M + "/preview"): "viewer",
    ("POST", D + "/preflight/ask"): "viewer",
    ("POST", D + "/test"): "operator",
    ("GET", D + "/replay"): "operator",
    ("POST", D + "/replay"): "operator",
    ("POST", D + "/replay/selection"): "operator",
    ("POST", D + "/dismiss"): "operator",
    ("POST", D + "/retry"): "operator",
    ("GET", "/console/destinations/new"): "editor",
    ("POST", "/console/destinations/new"): "editor",
    ("POST", D + "/connect"): "editor",
    ("POST", D + "/disconnect"): "editor",
    ("POST", D + "/pause"): "editor",
    ("POST", D + "/resume"): "editor",
    ("POST", D + "/delete"): "editor",
    ("POST", D + "/currency"): "editor",
    ("POST", D + "/settings"): "editor",
    ("GET", D + "/mappings/new"): "editor",
    ("POST", D + "/mappings/new"): "editor",
    ("POST", "/console/incidents/acknowledge"): "editor",
    ("POST", "/console/incidents/{incident_id}/acknowledge"): "editor",
    ("POST", "/console/incidents/{incident_id}/mute"): "editor",
    ("POST", "/console/event-names/{advertiser_id}/{event_type}"): "editor",
    ("POST", D + "/notifications"): "editor",
    ("POST", D + "/notifications/thresholds"): "editor",
    ("POST", D + "/notifications/maintenance"): "editor",
    ("POST", D + "/notifications/callback"): "editor",
    ("POST", "/console/hash-tester"): "viewer",
    ("GET", "/console/audit/export"): "admin",
    ("POST", "/console/audit/verify"): "admin",
    ("GET", "/console/privacy/receipt"): "admin",
    ("POST", "/console/privacy/find"): "admin",
    ("POST", D + "/match-quality/explain"): "viewer",
    ("POST", D + "/match-quality/hash"): "viewer",
    ("POST", D + "/match-quality/compare"): "viewer",
    ("POST", D + "/match-quality/add"): "editor",
    ("POST", D + "/match-quality/shadow"): "editor",
    ("POST", D + "/match-quality/test"): "editor",
    ("GET", M + "/copy"): "editor",
    ("POST", M + "/copy"): "editor",
    ("POST", M): "editor",
    ("POST", M + "/delete"): "editor",
    ("POST", M + "/publish"): "editor",
    ("POST", M + "/rollback"): "editor",
    ("POST", M + "/take-name"): "editor",
    ("POST", M + "/rename-pin"): "editor",
    ("GET", "/console/privacy"): "admin",
    ("GET", "/console/keys"): "admin",
    ("GET", "/console/audit"): "admin",
    ("POST", "/console/privacy/erase"): "admin",
    ("POST", D + "/journey-key"): "admin",
    ("POST", "/console/keys"): "admin",
    ("POST", "/console/keys/{key_id}/revoke"): "admin",
    ("GET", "/console/sessions"): "admin",
    ("POST", "/console/sessions/{session_id}/end"): "admin",
}
# Beside the ladder from viewer to admin: what each of these two roles reaches, and nothing else.
PLATFORM = {
    ("GET", "/console/organisations"),
    ("POST", "/console/organisations"),
    ("POST", "/console/organisations/{id}"),
    ("POST", "/console/organisations/{id}/switch"),
    ("GET", "/console/system"),
    ("POST", "/console/organisations/{id}/suspend"),
    ("POST", "/console/organisations/{id}/resume"),
}
# The system page is for everyone who sees destinations, too.
PLATFORM_ONLY = PLATFORM - {("GET", "/console/system")}
PRIVACY = {
    ("GET", "/console/privacy"),
    ("GET", "/console/privacy/receipt"),
    ("POST", "/console/privacy/find"),
    ("POST", "/console/privacy/erase"),
    ("GET", D + "/consent"),
    ("GET", D + "/consent.csv"),
}
EVERYONE = {("POST", "/console/sign-out"), ("GET", "/console/settings"), ("GET", "/console/find")}
ROUTES = [(method, path) for path, method, _ in LOCKED]


def test_no_act_escapes_the_table() -> None:
    """A new form needs a row here with the roles that may send it."""
    forms = {(method, path) for method, path in ROUTES if method == "POST"}
    assert forms <= set(ACTS) | PLATFORM
    assert set(ACTS) | PLATFORM | PRIVACY | EVERYONE <= set(ROUTES), "an act of the table is gone"


async def responses(world: ApiWorld) -> AsyncIterator[tuple[tuple[str, str], httpx.Response]]:
    """Yield what each route answers to the person who is signed in."""
    token = await csrf(world)
    # A stream has no end to wait for (its scope is its page's), and signing out comes last.
    tried = [(method, path) for method, path in ROUTES if "/live" not in path]
    for method, path in sorted(tried, key=lambda one: one[1] == "/console/sign-out"):
        data = {"csrf": token} if method == "POST" else None
        yield (method, path), await world.client.request(method, re.sub(r"[{}]", "", path), data=data)


@pytest.mark.parametrize("role", ORDER)
async def test_each_role_reaches_what_it_may_and_nothing_else(world: ApiWorld, role: str) -> None:
    """403 below the least role, whatever is asked for, and nothing done; from it on anything but that."""
    await sign_in(world, await world.key(*ROLES[role]))
    before, wrong = await world.actions(), []
    async for route, answer in responses(world):
        allowed = ORDER.index(role) >= ORDER.index(ACTS.get(route, "viewer")) and route not in PLATFORM_ONLY
        if (answer.status_code != 403) is not allowed:
            wrong.append((route, answer.status_code))
    assert wrong == []
    assert await world.actions() == [*before, "session_ended"]


@pytest.mark.parametrize(
    ("role", "reached"), [(PersonRole.PRIVACY, PRIVACY), (PersonRole.PLATFORM, PLATFORM)]
)
async def test_privacy_and_platform_reach_their_pages_only(
    world: ApiWorld, role: PersonRole, reached: set[tuple[str, str]]
) -> None:
    """A refused page names the roles that may open it, and does not lead to the list of destinations."""
    await sign_in(world, await world.key(*ROLES[role]))
    wrong: list[Any] = []
    async for route, answer in responses(world):
        if (answer.status_code != 403) is not (route in reached | EVERYONE):
            wrong.append((route, answer.status_code))
        if answer.status_code == 403 and f"Your role, {role}, may not" not in answer.text:
            wrong.append((route, "does not say who may"))
        if answer.status_code == 403 and 'href="/console"' in answer.text:
            wrong.append((route, "leads to the next refusal"))
    assert wrong == []


@pytest.mark.parametrize(
    ("role", "is_limited"),
    [("privacy", False), *itertools.product(("viewer", "editor", "admin"), (False, True))],
)
async def test_no_link_leads_to_a_refusal(case: Case, role: str, is_limited: bool) -> None:
    """Of any page that the role reaches: not those of the catalogue, the menu, a destination's head."""
    own = case.ids["destination_id"]
    await case.world.create_destination(name="Other", advertiser_id="777")
    grant = {
        "name": role,
        "scopes": sorted(ROLES[role]),
        **({"destination_ids": [own]} if is_limited else {}),
    }
    key = (await case.world.call("POST", "/keys", grant, status=201)).json()["key"]
    await sign_in(case.world, key)
    # A form leads from Privacy to the consent records.
    entries = {"privacy": ["/console/privacy", f"/console/destinations/{own}/consent"]}
    todo, met, wrong = entries.get(role, ["/console"]), set[str](), []
    while todo:
        address = todo.pop()
        if (kind := re.sub(r"(?:dst|map|inc|key)_\w+|=[^&]*", "", address)) in met:
            continue
        met.add(kind)
        answer = await case.world.client.get(address)
        if answer.status_code in (403, 404):
            wrong.append((answer.status_code, address))
        links = re.findall(r'<a\b[^>]* href="(/console[^"#]*)', answer.text)
        todo += sorted(map(html.unescape, links))
    assert wrong == []
    assert len(met) > (2 if role == "privacy" else 30)
