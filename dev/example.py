"""Create the example destination of `./run` through the API.

The steps are: create a destination, sign in to the sandbox, create a mapping, publish it. A step whose result
exists is skipped, so a second start changes nothing.
"""

import argparse
from dataclasses import dataclass

import httpx

from app.commands import CommandFailed
from app.commands.api_client import ApiClient
from app.domain.mapping.presets import EXAMPLE_MAPPING
from app.settings import Settings

NAME = "Example (Amazon sandbox)"
ADVERTISER = "4000000000001"


@dataclass(frozen=True, slots=True)
class Example:
    """A destination that is connected to the sandbox, and its advertiser there."""

    destination_id: str
    advertiser_id: str = ADVERTISER


def ensure_example(
    settings: Settings, api: str, *, name: str = NAME, advertiser: str = ADVERTISER
) -> Example:
    """Find or create a destination with this name that has the example mapping, and sign in if necessary.

    `api` is the address of the API. Raises CommandFailed.
    """
    client = ApiClient(settings, argparse.Namespace(api=api, key_file=None))
    existing = (each for each in client.items("/destinations") if each["name"] == name)
    destination = next((each for each in existing if each["state"] != "archived"), None)
    if destination is None:
        body = {"name": name, "advertiser_id": advertiser, "region": "NA", "currency": "USD"}
        destination = client.call("POST", "/destinations", body=body)
    path = f"/destinations/{destination['id']}"
    if destination["state"] in {"draft", "needs_reconnect"}:
        _sign_in(client, path, advertiser)
    mapping = next(client.items(f"{path}/mappings"), None)
    if mapping is None:
        mapping = client.call("POST", f"{path}/mappings", body={**EXAMPLE_MAPPING, "name": "Add to cart"})
    if client.call("GET", path)["state"] == "connected":
        client.call("POST", f"{path}/mappings/{mapping['id']}/publish")
    return Example(destination["id"], advertiser)


def _sign_in(client: ApiClient, path: str, advertiser: str) -> None:
    """Sign in as a user does who clicks Allow on the sandbox's page."""
    address = client.call("POST", f"{path}/connect")["authorize_url"]
    try:
        # This request does not use `client`, whose headers have the API key: the sandbox must not get it.
        allowed = httpx.post(
            address, data={"decision": "allow", "advertiser_id": advertiser}, timeout=20, trust_env=False
        )
    except httpx.HTTPError as error:
        raise CommandFailed(f"The sandbox does not respond: {type(error).__name__}.") from None
    if not allowed.is_redirect:
        raise CommandFailed(f"The sandbox's sign-in page returned {allowed.status_code}.")
    callback = httpx.URL(allowed.headers["location"])
    # Only the path is used, because PUBLIC_URL may be an address that only browsers can reach.
    client.call("GET", callback.path, query=callback.params)
