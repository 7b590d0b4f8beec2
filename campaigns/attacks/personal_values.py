"""An email address and a phone number in every field that a caller or a person at the console can fill.

`everywhere` sends them and yields the answers; nothing of them may be in an error, a log line, a metric or a
row. Bodies come from the examples of the API description, forms from the pages of the console.
"""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from app.api.http.body_examples import BODY_EXAMPLES
from tests.edge.hostile_inputs import Target, event
from tests.edge.service import EdgeService

EMAIL, PHONE = "canary.person@mail.example", "+1 (206) 555-0142"
# As they may be written, with what would be found of each in a log or a row.
FORMS = {
    EMAIL: "canary.person",
    "canary.person%40mail.example": "canary.person",
    "for <Canary.Person@MAIL.example>, please": "canary.person",
    "canary.person＠mail.example": "canary.person",
    PHONE: "206) 555-0142",
    "+12065550142": "2065550142",
    "tel:+1-206-555-0142": "206-555-0142",
}
TRACES = tuple(dict.fromkeys(FORMS.values()))
# These search for a person or erase one; their bodies are personal and are stored sealed or not at all.
_ABOUT_PEOPLE = ("/subjects/", "/identity/")
_PARAMETER = re.compile(r"\{(\w+)\}")
HEADERS = (
    "X-Request-Id", "traceparent", "tracestate", "Idempotency-Key", "X-Idempotency-Key", "User-Agent",
    "Referer", "Authorization", "X-Api-Key", "Cookie", "Accept", "Accept-Language", "Content-Type", "Origin",
    "If-Match", "If-None-Match", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Custom",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What was sent where, and what came back."""

    place: str
    status: int
    headers: str
    body: str
    is_console: bool = False

    def traces(self) -> list[str]:
        """Return what an error or a header repeats of a person. The console shows people their own input."""
        shown = "" if self.is_console else self.headers + (self.body if self.status >= 400 else "")
        return [trace for trace in TRACES if trace in shown.lower()]


@dataclass
class Sender:
    """Sends requests over sockets, as a hostile caller writes them."""

    port: int
    target: Target
    cookies: dict[str, str] = field(default_factory=dict)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        fields = {"Authorization": f"Bearer {self.target.admin}", "Content-Type": "application/json"}
        return self._exchange(method, path, body, {**fields, **(headers or {})})

    def open(self, path: str, form: list[tuple[str, str]] | None = None) -> Answer:
        """GET a page of the console, or POST a form, with the cookies of the session."""
        headers = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Origin": f"http://127.0.0.1:{self.port}",
            "Accept": "text/html",
        }
        if form is None:
            return self._exchange("GET", path, None, headers, is_console=True)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._exchange("POST", path, urlencode(form).encode(), headers, is_console=True)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], *, is_console: bool = False
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, "/", skip_host=True, skip_accept_encoding=True)
            # http.client checks targets and header fields; a hostile caller does not.
            connection._buffer[0] = f"{method} {path} HTTP/1.1".encode()  # type: ignore[attr-defined]
            fields = {"Host": f"127.0.0.1:{self.port}", **headers}
            if body is not None:
                fields["Content-Length"] = str(len(body))
            for name, value in fields.items():
                connection._buffer.append(f"{name}: {value}".encode())  # type: ignore[attr-defined]
            connection.endheaders(body)
            response = connection.getresponse()
            for cookie in response.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            text = response.read().decode(errors="replace")
            shown = str(response.headers)
            return Answer(f"{method} {path}", response.status, shown, text, is_console)
        finally:
            connection.close()


def everywhere(service: EdgeService, target: Target, *, is_long: bool) -> Iterator[Answer]:
    """Send each form of the two values in every place; yield what came back.

    The short form sends in each place of a body both values, and the other spellings by turns; it fills each
    text of a form alone with one of both values, and all of them with a spelling by turns.
    """
    sender = Sender(service.port, target)
    description = json.loads(service.text("/openapi.json"))
    for text in FORMS:
        yield from _events(sender, text)
        yield from _headers(sender, text)
    yield from _bodies(sender, description, is_long=is_long)
    for text in (EMAIL, PHONE):
        yield from _paths(sender, text, description)
    yield from _console(sender, is_long=is_long)


def every_value(target: Target) -> tuple[dict[str, Any], list[str]]:
    """Return an event with a word of its own as each value that is no id or enumeration, and these words.

    No rule recognises such a word as personal, so only encryption and hashing keep it out of the database.
    """
    words = [f"qzmarker{name}" for name in ("first", "last", "brand", "other", "deep", "list", "title")]
    first, last, brand, other, deep, listed, title = words
    planted = event(
        first_name=first,
        last_name=last,
        email="qzmarkermail@example.com",
        maid="7c9e6679-7425-40de-944b-e07fc1f90ae7",
        custom={"brand": brand, "title": title},
        unmapped=other,
        nested={"deep": {"deeper": deep}, "list": [{"item": listed}]},
    )
    return planted, [*words, "qzmarkermail", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e6679"]


def _events(sender: Sender, text: str) -> Iterator[Answer]:
    """Values and member names of events, in each form of the body."""
    place = f"/events?destination_id={sender.target.destination}&mapping_id={sender.target.mapping}"
    events: list[dict[str, Any]] = [
        event(event_id=text),
        event(destination_id=text),
        event(mapping_id=text),
        event(journey={"id": text, "node_id": text, "execution_id": text}),
        event(custom={"brand": text, text: text}),
        event(**{text: text}),
        event(custom={text: {text: [text, {text: text}]}}),
        event(event_type=text),
        event(event_time=text),
        event(country=text),
        event(currency=text, value=text, units=text),
        event(consent={"amznUserData": text, text: text}),
        event(email=text, phone=text, first_name=text, last_name=text, maid=text),
    ]
    for each in events:
        yield sender.send("POST", place, json.dumps(each).encode())
        yield sender.send("POST", place + "&dry_run=true", json.dumps(each).encode())
    lines = "\n".join(json.dumps(each) for each in events) + f"\n{{{text}\n{text}\n"
    ndjson = {"Content-Type": "application/x-ndjson"}
    yield sender.send("POST", place, lines.encode(), ndjson)
    yield sender.send("POST", place, f'{{"a": "{text}", "a": 1, {text}}}'.encode())
    for name in ("destination_id", "mapping_id", "dry_run", quote(text)):
        yield sender.send("POST", f"/events?{name}={quote(text)}", json.dumps(event()).encode())


def _headers(sender: Sender, text: str) -> Iterator[Answer]:
    """Values of header fields, and names."""
    place = f"/events?destination_id={sender.target.destination}"
    for name in HEADERS:
        for value in (text, f"Bearer {text}") if name == "Authorization" else (text,):
            yield sender.send("POST", place, json.dumps(event()).encode(), {name: value})
            yield sender.send("GET", "/destinations", headers={name: value})
    with suppress(OSError, http.client.HTTPException):  # no field name: the connection may just end
        yield sender.send("GET", "/destinations", headers={text.replace(":", ""): "x"})


def _paths(sender: Sender, text: str, description: dict[str, Any]) -> Iterator[Answer]:
    """Path parameters, unknown paths, methods, and each query parameter of each GET."""
    written = quote(text, safe="@+%")
    for path in (f"/{written}", f"/console/{written}", f"/static/{written}", f"/oauth/{written}"):
        yield sender.send("GET", path)
    with suppress(OSError, http.client.HTTPException):
        yield sender.send(re.sub(r"[^A-Za-z.+-]", "", text) or "X", "/destinations")
    for path, operations in description["paths"].items():
        filled = _PARAMETER.sub(written, path)
        if filled != path:
            for method in operations:
                yield sender.send(method.upper(), filled, b"{}" if method != "get" else None)
        names = [
            each["name"] for each in operations.get("get", {}).get("parameters", ()) if each["in"] == "query"
        ]
        real = _with_real_ids(sender, path)
        for name in [*names, written] if "get" in operations else ():
            yield sender.send("GET", f"{real}?{name}={written}")
    callback = urlencode(dict.fromkeys(("code", "state", "error", "error_description", "scope"), text))
    for path in ("/oauth/amazon/callback", "/console/oidc/callback"):
        yield sender.send("GET", f"{path}?{callback}")


def _with_real_ids(sender: Sender, path: str) -> str:
    ids = {"destination_id": sender.target.destination, "mapping_id": sender.target.mapping}
    return _PARAMETER.sub(lambda name: ids.get(name[1], "unknown"), path)


def _bodies(sender: Sender, description: dict[str, Any], *, is_long: bool) -> Iterator[Answer]:
    """Every text of every example body replaced, one by one; and as a member name."""
    turns = cycle(FORMS)
    for (method, path), example in BODY_EXAMPLES.items():
        if path.startswith(_ABOUT_PEOPLE):
            continue
        assert path in description["paths"], path
        bodies = [[*_replaced(example, text), {**example, text: text}] for text in FORMS]
        for place in zip(*bodies, strict=True):
            chosen = FORMS if is_long else {EMAIL, PHONE, next(turns)}
            for text, body in zip(FORMS, place, strict=True):
                if text in chosen:
                    yield sender.send(method, _with_real_ids(sender, path), json.dumps(body).encode())


def _replaced(value: Any, text: str) -> Iterator[Any]:
    """Yield copies of a body, each with one text replaced, and with one member name."""
    match value:
        case str():
            yield text
        case dict():
            for name, inner in value.items():
                for other in _replaced(inner, text):
                    yield {**value, name: other}
                rest = {key: part for key, part in value.items() if key != name}
                yield {**rest, text: inner}
        case list():
            for place, inner in enumerate(value):
                for other in _replaced(inner, text):
                    yield [*value[:place], other, *value[place + 1 :]]
        case _:
            return


class _Forms(HTMLParser):
    """The links of a page, and its forms: address, method, and fields as (name, value, is free text)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, str, list[tuple[str, str, bool]]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(has.get("href", ""))
        elif tag == "form":
            self.forms.append((has.get("action", ""), has.get("method", "get").lower(), []))
        elif self.forms and has.get("name") and tag in ("input", "textarea", "select", "button"):
            free = tag == "textarea" or (
                tag == "input" and has.get("type", "text") in ("text", "search", "url")
            )
            self.forms[-1][2].append((has["name"], has.get("value", ""), free))
        elif self.forms and tag == "option" and self.forms[-1][2] and not self.forms[-1][2][-1][1]:
            name, _, free = self.forms[-1][2][-1]
            self.forms[-1][2][-1] = (name, has.get("value", ""), free)


def _console(sender: Sender, *, is_long: bool) -> Iterator[Answer]:
    """Sign in, then every form of every page with each free text filled."""
    for text in FORMS:
        yield sender.open("/console/sign-in", [("key", text)])
    signed_in = sender.open("/console/sign-in", [("key", sender.target.admin)])
    assert signed_in.status == 303, (signed_in.status, signed_in.body[:300])
    seen, waiting, filled, turns = set[str](), ["/console"], set[str](), cycle(FORMS)
    while waiting:
        path = waiting.pop(0)
        page = sender.open(path)
        if page.status != 200 or "<" not in page.body[:200]:
            continue
        forms = _Forms(page.body)
        for link in forms.links:
            known = urlsplit(link).path
            if known.startswith("/console/") and known not in seen and len(seen) < 80:
                seen.add(known)
                waiting.append(known)
        for action, method, fields in forms.forms:
            route = re.sub(r"(dst|map|key|inc)_[0-9a-z]+", "_", action)
            shape = f"{method} {route} {[name for name, *_ in fields]}"
            if shape in filled or "sign-out" in action or "delete" in action:
                continue
            filled.add(shape)
            spellings = list(FORMS) if is_long else [next(turns)]
            yield from _fill(sender, action or path, method, fields, spellings, is_long=is_long)


def _fill(
    sender: Sender,
    action: str,
    method: str,
    fields: list[tuple[str, str, bool]],
    spellings: list[str],
    *,
    is_long: bool,
) -> Iterator[Answer]:
    """Submit a form with each free text filled alone, and in these spellings with all of them."""
    free = {name for name, _, is_free in fields if is_free}
    fillings = [(text, {name}) for text in (EMAIL, PHONE) for name in sorted(free)]
    if not is_long:
        fillings = [(text, {name}) for text, name in zip(cycle((EMAIL, PHONE)), sorted(free))]
    fillings += [(text, free) for text in spellings if free]
    for text, chosen in fillings:
        values = [(name, text if name in chosen else value) for name, value, _ in fields]
        if method == "get":
            yield sender.open(f"{urlsplit(action).path}?{urlencode(values)}")
        else:
            yield sender.open(action, values)
