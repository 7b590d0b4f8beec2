"""Streams of live updates: no organisation takes those of another, and all of them poll a few at a time."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import StreamingResponse

from app.admin import ErrorCode, Refusal
from app.console.access import sessions
from app.console.live_updates import MAX_STREAMS, streamed
from app.console.visits import Visit
from app.domain.ids import OrganisationId
from tests.api.world import BOOTSTRAP, PUBLIC, ApiWorld, make_world


async def visit_of(world: ApiWorld, key: str) -> Visit:
    """Sign in with a key, and return a visit of its session."""
    form, headers = {"key": key}, {"Origin": PUBLIC}
    answer = await world.client.post(f"{PUBLIC}/console/sign-in", data=form, headers=headers)
    assert answer.status_code == 303, answer.text
    cookie = f"__Host-console={answer.cookies['__Host-console']}".encode()
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "app": world.app,
        "headers": [(b"cookie", cookie)],
    }
    visitor = await sessions.visitor_of(world.context, Request(scope))
    assert visitor is not None
    return Visit(Request(scope), world.context.of_caller(visitor.caller), visitor)


async def key_of(world: ApiWorld, organisation: str) -> str:
    """Create an organisation, and return a key of it that may read."""
    await world.call("POST", "/organisations", {"id": organisation, "name": organisation}, status=201)
    body = {"name": "reads", "scopes": ["destinations:read", "events:read"]}
    address = f"/keys?organisation_id={organisation}"
    return str((await world.call("POST", address, body, status=201)).json()["key"])


@pytest.fixture
async def world(engine: AsyncEngine) -> ApiWorld:
    return make_world(engine)


async def never(_visit: Visit) -> dict[str, Any]:
    raise AssertionError("no stream polls before its first line was read")


async def opened(visit: Visit) -> StreamingResponse | None:
    """Open a stream and read its first line; None if there is no room."""
    response = streamed(visit, "tail_part.html", never)
    if not isinstance(response, StreamingResponse):
        assert response.status_code == 204
        return None
    assert await anext(aiter(response.body_iterator)) == "retry: 3000\n\n"
    return response


async def test_an_organisation_leaves_others_their_share_of_streams(world: ApiWorld) -> None:
    """Alone it may use all. Another one gets half of them at least, also if all are in use."""
    ours, theirs = await visit_of(world, BOOTSTRAP), await visit_of(world, await key_of(world, "other"))
    streams = [await opened(ours) for _ in range(MAX_STREAMS)]
    assert None not in streams
    assert await opened(ours) is None
    others = [await opened(theirs) for _ in range(MAX_STREAMS // 2)]
    assert None not in others
    assert await opened(theirs) is None
    for stream in (*streams, *others):
        assert stream is not None
        await stream.body_iterator.aclose()  # type: ignore[union-attr]
    assert world.app.state.console_streams.by_organisation == {}
    assert OrganisationId("other") == theirs.caller.organisation


async def test_few_streams_poll_at_a_time(world: ApiWorld) -> None:
    """A pool of ten connections is for all pages and routes of a process."""
    visit, in_progress, most = await visit_of(world, BOOTSTRAP), 0, 0

    async def read(_visit: Visit) -> dict[str, Any]:
        nonlocal in_progress, most
        in_progress += 1
        most = max(most, in_progress)
        await asyncio.sleep(0)
        in_progress -= 1
        raise Refusal(ErrorCode.NOT_FOUND)

    async def until_gone() -> list[Any]:
        response = streamed(visit, "tail_part.html", read)
        assert isinstance(response, StreamingResponse)
        return [line async for line in response.body_iterator]

    answers = await asyncio.gather(*(until_gone() for _ in range(30)))
    assert answers == [["retry: 3000\n\n", "event: gone\ndata:\n\n"]] * 30
    assert 1 <= most <= 3
