"""The example destination of `./run`, made as a person would make it: through the product's own API.

Create, sign in at the sandbox, map, publish. Every step looks first whether it was taken already, so a
second start changes nothing. This file speaks HTTP to our own API and to the sandbox, never to Amazon,
and is with the command line the only one outside `app.amazon` that may use httpx.
"""

from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.mapping.example import EXAMPLE_MAPPING
from app.settings import Settings

NAME = "Example (Amazon sandbox)"
ADVERTISER = "4000000000001"


class ExampleError(Exception):
    """The example could not be made; the text says at which step."""


@dataclass(frozen=True, slots=True)
class Example:
    """The destination that the welcome screen's event goes to."""

    destination_id: str


def ensure_example(settings: Settings, api: str) -> Example:
    """Make the example destination at the API's address, or find the one made before. Raises ExampleError."""
    assert settings.bootstrap_admin_key is not None
    key = settings.bootstrap_admin_key.get_secret_value()
    client = httpx.Client(
        base_url=api,
        headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
        timeout=20,
        trust_env=False,
    )
    with client:
        try:
            destination = _find(client) or _ask(
                client.post(
                    "/destinations",
                    json={"name": NAME, "advertiser_id": ADVERTISER, "region": "NA", "currency": "USD"},
                )
            )
            path = f"/destinations/{destination['id']}"
            if destination["state"] in {"draft", "needs_reconnect"}:
                _sign_in(client, path)
            if not _ask(client.get(f"{path}/mappings"))["items"]:
                _ask(client.post(f"{path}/mappings", json={**EXAMPLE_MAPPING, "name": "Add to cart"}))
            if _ask(client.get(path))["state"] == "connected":
                mapping = _ask(client.get(f"{path}/mappings"))["items"][0]
                _ask(client.post(f"{path}/mappings/{mapping['id']}/publish"))
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ExampleError(type(error).__name__) from None
        return Example(destination["id"])


def _find(client: httpx.Client) -> dict[str, Any] | None:
    cursor = None
    while True:
        page = _ask(client.get("/destinations", params={"cursor": cursor} if cursor else {}))
        for one in page["items"]:
            if one["name"] == NAME and one["state"] != "archived":
                return dict(one)
        cursor = page["next_cursor"]
        if cursor is None:
            return None


def _sign_in(client: httpx.Client, path: str) -> None:
    """Click Allow on the sandbox's page and follow it back."""
    address = _ask(client.post(f"{path}/connect"))["authorize_url"]
    # The sandbox must not see our key: a fresh request without the client's headers.
    allowed = httpx.post(
        address, data={"decision": "allow", "advertiser_id": ADVERTISER}, timeout=20, trust_env=False
    )
    if not allowed.is_redirect:
        raise ExampleError(f"the sandbox's sign-in page answered {allowed.status_code}")
    back = httpx.URL(allowed.headers["location"])
    # PUBLIC_URL may be an address that only browsers reach; the callback is ours in any case.
    _ask(client.get(back.raw_path.decode()))


def _ask(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        request = answer.request
        raise ExampleError(f"{request.method} {request.url.path} answered {answer.status_code}")
    return dict(answer.json())
