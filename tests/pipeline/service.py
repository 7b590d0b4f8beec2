"""The pipeline behind its API, in one process: what a client sees, and a person at the console."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from app.processes import api
from app.processes.resources import open_resources
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.processes import ADMIN
from tests.pipeline.world import World, eventually, settings_of


@dataclass
class Service:
    """A pipeline, its API, and a client with the admin key."""

    world: World
    application: FastAPI
    client: httpx.AsyncClient
    key: str = ADMIN

    async def get(self, path: str, *, key: str | None = None, **query: str) -> Any:
        answer = await self.client.get(path, params=query, headers={"X-Api-Key": key} if key else None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def all_items(self, path: str, **query: str) -> list[Any]:
        """Return the items of all pages of a list. On a busy machine a page of a search can end early."""
        page = await self.get(path, **query)
        items = list(page["items"])
        while page["next_cursor"] is not None:
            page = await self.get(path, **query, cursor=page["next_cursor"])
            items += page["items"]
        return items

    async def send(self, path: str, **body: Any) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def do(self, path: str, body: Any) -> Any:
        """Send a body that is accepted; return the answer."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def post(self, destination: str, *events: Any, **headers: str) -> list[dict[str, Any]]:
        """Post events of a destination; return their results, accepted or not."""
        answer = await self.client.post(
            f"/events?destination_id={destination}", content=json.dumps(list(events)), headers=headers
        )
        assert answer.status_code in (202, 207, 422), answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    async def history(self, dst: str, event_id: str = "ord-1", **more: str) -> Any:
        return await self.get(f"/events/{event_id}", destination_id=dst, **more)

    async def console(self, path: str = "", **query: str) -> str:
        """Return a page of the console, as a person signed in with the admin key reads it."""
        signed_in = await self.form("/console/sign-in", key=self.key)
        assert signed_in.status_code == 303, signed_in.text
        answer = await self.client.get(f"/console{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def form(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the console."""
        origin = self.world.resources.settings.public_url
        headers = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
        return await self.client.post(path, data=fields, headers=headers)

    async def erase(self, person: int) -> None:
        requested = await self.do("/subjects/erase", {"email": f"person{person}@example.com"})

        async def is_finished() -> bool:
            receipt = await self.get(f"/subjects/erasures/{requested['id']}")
            return bool(receipt["status"] == "finished")

        await eventually(is_finished)


@asynccontextmanager
async def serving(url: str, amazon: FakeAmazon | None = None) -> AsyncIterator[Service]:
    """Serve the API on a database; its workers are started by the test."""
    settings = settings_of(url, bootstrap_admin_key=ADMIN)
    async with (
        open_resources(settings, role="test", pool_size=10) as resources,
        api.build_application(resources) as application,
    ):
        world = World(resources, amazon or FakeAmazon(), application.state.context.intake, url)
        transport = httpx.ASGITransport(app=application)
        headers = {"X-Api-Key": ADMIN, "Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            try:
                yield Service(world, application, client)
            finally:
                await asyncio.wait_for(world.stop_workers(), 40)
