"""Build the sandbox: one ASGI app, served by its own process on its own port."""

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.access import Access
from sandbox.accounts_api import AccountCalls
from sandbox.advertisers import Advertisers
from sandbox.control_api import Controls
from sandbox.events_api import MAX_BODY, EventsCall
from sandbox.fault_page import FaultPage
from sandbox.faults import FaultBook
from sandbox.journal import Journal
from sandbox.pages import Pages
from sandbox.signin_page import SignInPage
from sandbox.signins import ACCESS_LIFE_S, SignIns
from sandbox.token_endpoint import TokenEndpoint
from sandbox.transport import Endpoint, HangUpMiddleware, calmly, refusal
from sandbox.vocabulary import Code


def create_sandbox(
    *,
    state_dir: Path | None = None,
    log_path: Path | None = None,
    access_life_s: float = ACCESS_LIFE_S,
    client_secrets: Mapping[str, str] | None = None,
    redirect_uris: frozenset[str] | None = None,
    max_events: int = 500_000,
    max_body: int = MAX_BODY,
    echo: bool = True,
    console_url: str | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """Build a sandbox that stands in for Amazon under `/na`, `/eu` and `/fe`.

    `state_dir` stores the signing key and added advertisers, so that sign-ins survive a restart. Accepted
    events, faults and unused codes are in memory only. The request log is written to `log_path`, one JSON
    object per line. `client_secrets` and `redirect_uris` are exact allow-lists; None accepts any.
    `max_events` limits the number of stored events. With `echo=False`, responses contain `"event": null`.
    Pages link back to `console_url`. The clocks return seconds; tests replace them.
    """
    if state_dir is not None:
        state_dir.mkdir(parents=True, exist_ok=True)
    signins = SignIns(_signing_key(state_dir), access_life_s, client_secrets)
    advertisers = Advertisers(None if state_dir is None else state_dir / "advertisers.json")
    faults = FaultBook(clock, monotonic)
    journal = Journal(max_events=max_events, max_bodies=min(50_000, max_events), log_path=log_path)
    access = Access(signins, advertisers, faults, clock)
    pages = Pages(console_url)
    accounts = AccountCalls(access, advertisers)
    controls = Controls(journal, faults, advertisers, pages, clock)
    routes: list[tuple[str, Endpoint, list[str]]] = [
        (
            "/{region}/adsApi/v1/create/events",
            EventsCall(access, journal, faults, clock, monotonic, max_body, echo),
            ["POST"],
        ),
        ("/{region}/auth/o2/token", TokenEndpoint(access, signins, faults, clock), ["POST"]),
        ("/{region}/ap/oa", SignInPage(signins, advertisers, pages, clock, redirect_uris), ["GET", "POST"]),
        ("/{region}/v2/profiles", accounts.profiles, ["GET"]),
        ("/{region}/adsApi/v1/query/advertiserAccounts", accounts.query_accounts, ["POST"]),
        ("/{region}/dsp/advertisers", accounts.dsp_advertisers, ["GET"]),
        ("/{region}/dsp/advertisers/{advertiser_id}", accounts.dsp_advertiser, ["GET"]),
        ("/_sandbox/health", controls.health, ["GET"]),
        ("/_sandbox/events", controls.events, ["GET", "DELETE"]),
        ("/_sandbox/requests", controls.requests, ["GET", "DELETE"]),
        ("/_sandbox/faults", controls.set_faults, ["GET", "POST", "DELETE"]),
        ("/_sandbox/advertisers", controls.list_advertisers, ["GET", "POST"]),
        ("/events-manager", controls.events_manager, ["GET"]),
        ("/faults", FaultPage(faults, advertisers, pages), ["GET", "POST"]),
        ("/", controls.index, ["GET"]),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        journal.close()

    app = Starlette(
        routes=[Route(path, calmly(endpoint), methods=methods) for path, endpoint, methods in routes],
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _not_allowed},
    )
    app.router.redirect_slashes = False
    return HangUpMiddleware(app)


async def _not_found(request: Request, problem: Exception) -> Response:
    return refusal(404, Code.NOT_FOUND, "This path does not exist.")


async def _not_allowed(request: Request, problem: Exception) -> Response:
    return refusal(405, Code.BAD_REQUEST, "This path does not accept this method.")


def _signing_key(state_dir: Path | None) -> bytes:
    """Return the signing key of the sandbox. Create it if it does not exist.

    The key is in a file that only its owner can read, or, without `state_dir`, in memory.
    """
    if state_dir is None:
        return secrets.token_bytes(32)
    path = state_dir / "signing.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()
