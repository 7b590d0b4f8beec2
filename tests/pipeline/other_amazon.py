"""A second stand-in for Amazon, written for one test: what the product needs, implemented differently."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.listening import Heard, listening


class OtherAmazon:
    """A bare HTTP/1.1 server: sign-in without a page, older account calls only, echo-less 207."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.strangers: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with listening(self._converse) as listener:
            yield listener.url

    async def _converse(self, heard: Heard, writer: asyncio.StreamWriter) -> None:
        method, target, _ = heard.head.split(" ", 2)
        status, more, answer = self._answer(method, target, heard.headers, heard.body)
        text = json.dumps(answer).encode()
        more = {"Content-Type": "application/json", "Content-Length": str(len(text)), **more}
        fields = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode() + text)
        await writer.drain()

    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(target)
        form = parse_qs(body.decode()) if "urlencoded" in headers.get("content-type", "") else {}
        match method, parts.path:
            case "POST", "/eu/ap/oa":
                back = {"code": "c0de", "state": form["state"][0], "scope": form["scope"][0]}
                return 302, {"Location": f"{form['redirect_uri'][0]}?{urlencode(back)}"}, {}
            case "POST", "/eu/auth/o2/token":
                if "authorization" in headers or form["client_secret"] != ["secret"]:
                    return 400, {}, {"error": "invalid_request"}
                token = {"access_token": "Atza|o", "refresh_token": "Atzr|o", "token_type": "bearer"}
                return 200, {}, {**token, "expires_in": 3600}
            case "POST", "/eu/adsApi/v1/query/advertiserAccounts":
                return 404, {}, {"code": "NOT_FOUND", "message": "unknown"}
            case "GET", "/eu/v2/profiles":
                if "amazon-advertising-api-clientid" not in headers:
                    return 401, {}, {"code": "UNAUTHORIZED"}
                return 200, {}, [{"profileId": 77, "accountInfo": {"type": "agency", "name": "Agency"}}]
            case "GET", "/eu/dsp/advertisers":
                if headers.get("amazon-advertising-api-scope") != "77":
                    return 403, {}, {"code": "FORBIDDEN"}
                return (
                    200,
                    {},
                    {"totalResults": 1, "response": [{"advertiserId": "123456789012", "name": "A"}]},
                )
            case "POST", "/eu/adsApi/v1/create/events":
                if (
                    headers["authorization"] != "Bearer Atza|o"
                    or headers["amazon-ads-accountid"] != "123456789012"
                ):
                    return 401, {}, {"code": "UNAUTHORIZED"}
                sent = json.loads(body)["events"]
                self.events += sent
                return 207, {}, {"success": [{"index": n} for n in range(len(sent))]}
            case _:
                self.strangers.append(f"{method} {parts.path}")
                return 404, {}, {}
