"""The pipeline behind its API, in one process: what a client sees, and a person at the console."""

import asyncio
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

    async def ask(self, path: str, *, key: str = ADMIN, **query: str) -> Any:
        answer = await self.client.get(path, params=query, headers={"X-Api-Key": key})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, path: str, body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def history(self, dst: str, event_id: str = "ord-1", **more: str) -> Any:
        return await self.ask(f"/events/{event_id}", destination_id=dst, **more)

    async def console(self, path: str = "", **query: str) -> str:
        """Return a page of the console, as a person signed in with the admin key reads it."""
        origin = {"Origin": self.world.resources.settings.public_url}
        signed_in = await self.client.post("/console/sign-in", data={"key": ADMIN}, headers=origin)
        assert signed_in.status_code == 303, signed_in.text
        answer = await self.client.get(f"/console{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def erase(self, person: int) -> None:
        requested = await self.do("/subjects/erase", {"email": f"person{person}@example.com"})

        async def is_finished() -> bool:
            receipt = await self.ask(f"/subjects/erasures/{requested['id']}")
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
        transport, headers = httpx.ASGITransport(app=application), {"X-Api-Key": ADMIN}
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            try:
                yield Service(world, application, client)
            finally:
                await asyncio.wait_for(world.stop_workers(), 40)
