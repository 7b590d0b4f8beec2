"""Every link and every GET form of the console, from its home page on: nothing breaks, nothing leads astray.

Forms are submitted as a browser without JavaScript does, empty fields and all: untouched, and with each field
filled alone.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urldefrag, urlencode, urljoin, urlsplit

import httpx

from tests.console.showcase import Cast, furnish, signed_in
from tests.pipeline.processes import Product

# Pages that rightly answer with 404: an event that does not exist, asked for by a filled field.
# The tests' Postgres runs without fsync, which readiness says.
MISSING = re.compile(r"/console/destinations/[^/]+/event\?id=nothing-like-it|/console/nowhere|/health/ready")
BROKEN = re.compile(
    r"Traceback \(most recent call last\)|Internal Server Error|Something broke here|jinja2\."
)


@dataclass
class Page(HTMLParser):
    """What leads on from a page: its links, streams and GET forms, each form as (address, fields)."""

    links: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    forms: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._within: list[tuple[str, str, str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in has:
            self.links.append(has["href"])
        if has.get("data-live"):
            self.streams.append(has["data-live"])
        if tag in ("link", "script"):
            self.links += [has[name] for name in ("href", "src") if has.get(name)]
        if tag == "form":
            self._within = None
            if has.get("method", "get").lower() == "get":
                self._within = []
                self.forms.append((has.get("action", ""), self._within))
        elif self._within is not None and tag in ("input", "select") and has.get("name"):
            kind = "hidden" if has.get("type") == "hidden" else tag
            self._within.append((has["name"], "" if tag == "select" else has.get("value", ""), kind))
        elif self._within and tag == "option" and self._within[-1][2].startswith("select"):
            name, chosen, _ = self._within[-1]
            # The first option is what a browser sends untouched; the last one is what is tried beside it.
            first = chosen if self._within[-1][2] != "select" or "selected" not in has else has["value"]
            self._within[-1] = (name, first, f"select:{has.get('value', '')}")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._within = None

    def submissions(self) -> Iterator[str]:
        """Yield each form's address untouched, then with each field filled alone."""
        for action, fields in self.forms:
            yield f"{action}?{urlencode([(name, value) for name, value, _ in fields])}"
            for filled, _, kind in fields:
                if kind == "hidden":
                    continue  # no visitor fills it
                other = kind.partition(":")[2] or "nothing-like-it"
                values = [(name, other if name == filled else value) for name, value, _ in fields]
                yield f"{action}?{urlencode(values)}"


def kind_of(address: str, shop: str) -> str:
    """Return what is alike in addresses that one route answers; of the shop, and of any other destination."""
    path, query = urlsplit(address).path.replace(shop, "shop"), urlsplit(address).query
    path = re.sub(r"\b([a-z]{3})_[\w-]+", r"\1", path)
    return f"{path}?{'&'.join(sorted(re.findall(r'([a-z_]+)=[^&]', query)))}"


async def first_event(client: httpx.AsyncClient, stream: str) -> str:
    """Return the first event of a stream, whose body lasts for minutes."""
    async with client.stream("GET", stream) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                return line
    return f"no event, {answer.status_code}"


async def crawled(client: httpx.AsyncClient, cast: Cast) -> tuple[set[str], list[str]]:
    """Read the pages of an instance, then one of each kind that a link or a form leads to.

    The form on the result of a form is the same form, so it is not sent again. Return the kinds that were led
    to, and what was wrong with any page.
    """
    todo, results = deque(cast.pages.values()), set[str]()
    kinds, wrong = set[str](), list[str]()
    here = str(client.base_url)
    while todo:
        address = todo.popleft()
        answer = await client.get(address)
        submissions: list[str] = []
        if answer.status_code in (302, 303):
            links = [answer.headers["location"]]
        elif answer.status_code >= 400 and not MISSING.fullmatch(address):
            wrong.append(f"{answer.status_code} {address}")
            continue
        elif not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        else:
            if BROKEN.search(answer.text):
                wrong.append(f"broken {address}")
            page = Page()
            page.feed(answer.text)
            for stream in page.streams:
                if (first := await first_event(client, stream)) != "event: panel":
                    wrong.append(f"{first} of {stream}")
            links = page.links
            submissions = [] if address in results else list(page.submissions())
        for one in [*links, *submissions]:
            absolute = urldefrag(urljoin(f"{here}{address}", one)).url
            if not absolute.startswith(f"{here}/"):
                continue  # Amazon's own pages
            onward = absolute.removeprefix(here)
            if (kind := kind_of(onward, cast.shop)) not in kinds:
                kinds.add(kind)
                todo.append(onward)
                if one in submissions:
                    results.add(onward)
    return kinds, wrong


async def test_every_link_and_every_form_leads_to_a_page(product: Product) -> None:
    """Signed in as an admin, from every page of an instance with a life behind it."""
    dsn = product.database_url.replace("+asyncpg", "", 1)
    cast = await asyncio.to_thread(furnish, product, dsn, posts=1)
    filtered = "reason=amazon_refused&status=dead&dismissed=false&range=7d"
    async with signed_in(product) as client:
        kinds, wrong = await crawled(client, cast)
        listed = Page()
        listed.feed((await client.get(f"/console/destinations/{cast.shop}/events?{filtered}")).text)
    assert wrong == []
    # What is replayed is what the list shows.
    assert f"/console/destinations/{cast.shop}/replay?{filtered}" in listed.links
    for met in (
        "/console?q",
        "/console?",
        "/console/events?",
        "/console/events?q",
        "/console/audit?action",
        "/console/destinations/shop/events?status",
        "/console/destinations/shop/event?id&mapping",
        "/console/destinations/shop/mappings/map?",
        "/console/destinations/shop/replay?dismissed&range&status",
        "/console/destinations/shop/errors?",
        "/console/destinations/shop/rejections?",
        "/console/destinations/shop/events/export?format&range",
        "/console/destinations/shop/journeys?",
        "/console/tail?destination",
        "/console/destinations/shop/consent.csv?",
        "/console/keys?",
    ):
        assert met in kinds, (met, sorted(kinds))
