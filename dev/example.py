"""Create the example destination of `./run` through the API.

The steps are: create a destination, sign in to the sandbox, create a mapping, publish it. A step whose result
exists is skipped, so a second start changes nothing.
"""

from dataclasses import dataclass
from typing import Any

import httpx

from app.domain.mapping.example import EXAMPLE_MAPPING
from app.settings import Settings

NAME = "Example (Amazon sandbox)"
ADVERTISER = "4000000000001"


class ExampleError(Exception):
    """The example was not created. The text names the step that failed."""


@dataclass(frozen=True, slots=True)
class Example:
    """A destination that is connected to the sandbox, and its advertiser there."""

    destination_id: str
    advertiser_id: str = ADVERTISER


def ensure_example(
    settings: Settings, api: str, *, name: str = NAME, advertiser: str = ADVERTISER
) -> Example:
    """Find or create a destination with this name that has the example mapping, and sign in if necessary.

    `api` is the address of the API. Raises ExampleError.
    """
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
            destination = _find(client, name) or _body(
                client.post(
                    "/destinations",
                    json={"name": name, "advertiser_id": advertiser, "region": "NA", "currency": "USD"},
                )
            )
            path = f"/destinations/{destination['id']}"
            if destination["state"] in {"draft", "needs_reconnect"}:
                _sign_in(client, path, advertiser)
            if not _body(client.get(f"{path}/mappings"))["items"]:
                _body(client.post(f"{path}/mappings", json={**EXAMPLE_MAPPING, "name": "Add to cart"}))
            if _body(client.get(path))["state"] == "connected":
                mapping = _body(client.get(f"{path}/mappings"))["items"][0]
                _body(client.post(f"{path}/mappings/{mapping['id']}/publish"))
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise ExampleError(type(error).__name__) from None
        return Example(destination["id"], advertiser)


def _find(client: httpx.Client, name: str) -> dict[str, Any] | None:
    cursor = None
    while True:
        page = _body(client.get("/destinations", params={"cursor": cursor} if cursor else {}))
        for destination in page["items"]:
            if destination["name"] == name and destination["state"] != "archived":
                return dict(destination)
        cursor = page["next_cursor"]
        if cursor is None:
            return None


def _sign_in(client: httpx.Client, path: str, advertiser: str) -> None:
    """Sign in as a user does who clicks Allow on the sandbox's page."""
    address = _body(client.post(f"{path}/connect"))["authorize_url"]
    # This request does not use `client`, whose headers have the API key: the sandbox must not get it.
    allowed = httpx.post(
        address, data={"decision": "allow", "advertiser_id": advertiser}, timeout=20, trust_env=False
    )
    if not allowed.is_redirect:
        raise ExampleError(f"the sandbox's sign-in page returned {allowed.status_code}")
    callback = httpx.URL(allowed.headers["location"])
    # Only the path is used, because PUBLIC_URL may be an address that only browsers can reach.
    _body(client.get(callback.raw_path.decode()))


def _body(response: httpx.Response) -> dict[str, Any]:
    if not response.is_success:
        request = response.request
        raise ExampleError(f"{request.method} {request.url.path} returned {response.status_code}")
    return dict(response.json())
