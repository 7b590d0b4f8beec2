"""`conformance`: our sandbox passes, another stand-in is judged honestly, a broken one fails by name."""

import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dev.postgres.postmaster import free_port
from sandbox import create_sandbox
from sandbox.conformance import requests, signing
from sandbox.conformance.caller import Caller
from sandbox.conformance.command import Line, lines, run
from tests.listening import serving_in_a_thread
from tests.tables import cases

Rewrite = Callable[[Scope, int, bytes], tuple[int, bytes]]


class Altered:
    """A stand-in in front of the sandbox that gives each answer another form."""

    def __init__(self, app: ASGIApp, rewrite: Rewrite) -> None:
        self._app = app
        self._rewrite = rewrite

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = b""

        async def altered(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            status, content = self._rewrite(scope, start["status"], body)
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            headers.append((b"content-length", str(len(content)).encode()))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, altered)


def served(app: ASGIApp) -> AbstractContextManager[str]:
    return serving_in_a_thread(uvicorn.Config(app, log_level="critical", lifespan="off"))


@pytest.fixture
def sandbox(tmp_path: Path) -> ASGIApp:
    return create_sandbox(state_dir=tmp_path)


def evaluated(
    url: str, region: str = "na", client: tuple[str, str] = ("sandbox-client", "sandbox-client")
) -> list[Line]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        return list(lines(Caller(http, url, region, *client)))


def failed(found: list[Line]) -> set[str]:
    return {line.case.id for line in found if line.word == "FAIL"}


@pytest.mark.parametrize("region", ["na", "eu", "fe"])
def test_our_sandbox_keeps_the_contract(sandbox: ASGIApp, region: str) -> None:
    """Every case passes; the one that differs is the one the documentation names."""
    with served(sandbox) as url:
        found = evaluated(url, region)
    assert len(found) > 110
    assert {line.case.id for line in found if line.word != "pass"} == {"oauth-client"}


def test_every_case_has_a_name_of_its_own_and_a_source() -> None:
    """So that a failure can be looked up."""
    for region in ("na", "eu"):
        found = [*signing.CASES, *requests.cases(region)]
        assert len({case.id for case in found}) == len(found)
        assert all(case.source and case.says for case in found)
    apart = {case.id for case in requests.cases("na")} ^ {case.id for case in requests.cases("eu")}
    assert apart == {"oas-no-consent", "gtm-consent-eea", "oas-eu-consent", "gtm-consent-ip"}


def of_events(change: Callable[[Any], Any]) -> Rewrite:
    """Return what changes the replies about events, and no other answer."""

    def rewrite(scope: Scope, status: int, body: bytes) -> tuple[int, bytes]:
        if not scope["path"].endswith("/create/events") or status != 207:
            return status, body
        return status, json.dumps(change(json.loads(body))).encode()

    return rewrite


@of_events
def counted_from_one(reply: Any) -> Any:
    return {name: [{**one, "index": one["index"] + 1} for one in listed] for name, listed in reply.items()}


def plain_200(scope: Scope, status: int, body: bytes) -> tuple[int, bytes]:
    return (200 if status == 207 else status), body


@of_events
def silent_about_errors(reply: Any) -> Any:
    return {"success": reply["success"]}


@of_events
def accept_everything(reply: Any) -> Any:
    indexes = sorted(one["index"] for one in (*reply["success"], *reply["error"]))
    return {"success": [{"index": index} for index in indexes], "error": []}


def errors_without_codes(scope: Scope, status: int, body: bytes) -> tuple[int, bytes]:
    return status, b'{"detail": "no"}' if status >= 400 else body


def token_of_any_grant(scope: Scope, status: int, body: bytes) -> tuple[int, bytes]:
    if not scope["path"].endswith("/auth/o2/token") or status == 200:
        return status, body
    return 200, b'{"access_token": "a", "refresh_token": "r", "token_type": "bearer", "expires_in": 3600}'


@cases(
    ("rewrite", "names"),
    {
        "indexes from one": (counted_from_one, {"seg-207", "seg-207-partial", "oas-limit-500"}),
        "200 for 207": (plain_200, {"seg-207", "oas-types", "seg-build-001"}),
        "an empty 207 for a refusal": (silent_about_errors, {"seg-207-partial", "gtmdoc-001"}),
        "takes all": (accept_everything, {"seg-207-partial", "oas-006", "oas-units", "amp-time-002"}),
        "errors without codes": (errors_without_codes, {"oas-001", "oas-401", "oas-limit-501"}),
        "tokens for nothing": (token_of_any_grant, {"oauth-grant", "oauth-once", "oauth-stray"}),
    },
)
def test_a_broken_stand_in_fails_by_name(sandbox: ASGIApp, rewrite: Rewrite, names: set[str]) -> None:
    """Each fault turns the cases red that speak of it, and leaves the sign-in alone."""
    with served(Altered(sandbox, rewrite)) as url:
        found = evaluated(url)
    assert failed(found) >= names
    assert found[0].word == "pass"


def test_without_a_sign_in_nothing_else_is_claimed() -> None:
    """Without a server, the sign-in fails and no other case runs."""
    found = evaluated(f"http://127.0.0.1:{free_port()}")
    assert failed(found) == {"sign-in"}
    assert {line.word for line in found[1:]} == {"not run"}


def code_of(url: str, *, strict: bool = False) -> int:
    """Run the command; return its exit code."""
    settings: Any = None
    words = {"url": url, "region": ["na"], "advertiser": "", "strict": strict}
    return run(settings, Namespace(**words, client_id="sandbox-client", client_secret_file=None))


def test_the_exit_code_is_that_of_the_worst_line(
    sandbox: ASGIApp, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where what differs is uncertain, 1 under --strict, each line with its source."""
    with served(sandbox) as url:
        assert code_of(url) == 0
        assert code_of(url, strict=True) == 1
    output = capsys.readouterr().out
    assert "pass     oas-001                  an empty list of events is refused  [OAS 2]" in output


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:99999"])
def test_an_address_that_does_not_respond_takes_one_line(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one for each case that needs a sign-in."""
    assert code_of(url) == 1
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith(f"{url} does not respond (")


@pytest.mark.parametrize(
    "url",
    ["https://advertising-api.amazon.com", "https://api.amazon.co.uk/x", "https://www.amazon.com", "nowhere"],
)
def test_amazon_itself_is_left_alone(url: str) -> None:
    """The cases send events that somebody would count."""
    assert code_of(url) == 2
