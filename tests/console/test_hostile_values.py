"""Hostile values in every field that a person, a journey or Amazon fills: text everywhere, markup nowhere."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from tests.console.browsing import PHONE, Site
from tests.console.showcase import MAPPING, Showcase, opened
from tests.pipeline.processes import Product

MARK = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
RTL = "שלום مرحبا"
ADVERTISER = "580111222333"


def marked(what: str) -> str:
    """Return markup whose name identifies it on a page."""
    return f"{what}{MARK}{RTL}"


@dataclass
class Hostile:
    """Where the hostile things are."""

    case: Showcase
    destination: str
    mapping: str
    event_id: str

    @property
    def rendered(self) -> dict[str, tuple[str, ...]]:
        """Which of the values each page must show, as text."""
        here = f"/console/destinations/{self.destination}"
        return {
            "/console": ("dst",),
            here: ("dst", "acct"),
            f"{here}/preflight": ("dst", "acct"),
            f"{here}/settings": ("dst",),
            f"{here}/activate": ("dst", "map", "key"),
            f"{here}/event-schema": ("dst",),
            f"{here}/mappings": ("dst", "map", "name"),
            f"{here}/mappings/{self.mapping}": ("map", "name", "const", "default"),
            f"{here}/mappings/{self.mapping}/publish": ("map", "name2"),
            f"{here}/events": ("evt",),
            f"{here}/events?reason=typed%3Cb%3E&execution_id=typed%3Ci%3E": ("typed<b>", "typed<i>"),
            f"{here}/event?id={quote(self.event_id)}": ("evt", "run", "map"),
            f"{here}/event?id={quote(marked('typed'))}": ("typed",),
            f"{here}/consent": ("evt",),
            f"{here}/replay?reason=typed%3Cb%3E": ("typed",),
            f"/console/events?q={quote(self.event_id)}": ("dst",),
            f"/console/events?q={quote(marked('run'))}": ("evt", "dst"),
            f"/console/events?q={quote(marked('typed'))}": ("typed",),
            f"/console?q={quote(marked('typed'))}": ("typed",),
            "/console/keys": ("key",),
            "/console/audit": ("dst",),
            "/console/audit?target=typed%3Cb%3E": ("typed<b>",),
            f"/console/{quote(marked('typed'))}": (),
        }


@pytest.fixture(scope="module")
def hostile(product: Product) -> Hostile:
    """An instance whose every name, id and word is markup; event names may hold quotes alone."""
    case = opened(product)
    # Without quotes: what stands in them is scrubbed of Amazon's words, and a scrubbed name is not shown.
    account = {"advertiser_id": ADVERTISER, "region": "NA", "name": f"acct<script>run</script><i>{RTL}"}
    answer = httpx.post(f"{product.amazon}/_sandbox/advertisers", json={"advertisers": [account]}, timeout=30)
    assert answer.status_code < 300, answer.text
    made = case.destination(marked("dst"), ADVERTISER, "NA", "USD")
    case.connect(made)
    document = {
        **MAPPING,
        "name": marked("map"),
        "event_name": f"name \" ' {RTL}",
        "country_code": {"path": "user.country", "default": "US"},
        "custom_data": [
            {"name": "brand", "const": marked("const")},
            {"name": "a", "path": "b", "default": marked("default")},
        ],
    }
    mapping = case.publish(made, document)
    case.ask("PATCH", f"/destinations/{made}/mappings/{mapping}", {"event_name": f"name2 \" ' {RTL}"})
    case.ask("POST", "/keys", {"name": marked("key"), "scopes": ["events:write"]})
    event_id = marked("evt")
    [one] = case.events(made, 1)
    one |= {"event_id": event_id, "journey": {"execution_id": marked("run")}, MARK: {MARK: MARK}}
    one["event"]["properties"][MARK] = RTL
    case.send([one])
    case.until(lambda: case.counts(made)["delivered"] >= 1)
    return Hostile(case, made, mapping, event_id)


def untouched(site: Site) -> None:
    """Nothing ran, and nothing became an element."""
    assert site.page.title() != "run"
    injected = "document.querySelectorAll('script:not([src]), img[src=x], [onerror], main b:has(> i)').length"
    assert site.page.evaluate(injected) == 0, site.page.url


def test_every_page_shows_them_as_text(site: Site, hostile: Hostile) -> None:
    """No dialog, no report of the policy, no request elsewhere; and they are there to be read."""
    site.allowed_failures |= {404, 422}
    for path, values in hostile.rendered.items():
        site.open(path)
        expect(site.page.locator("main")).to_be_visible()
        untouched(site)
        text = (site.page.locator("main").text_content() or "") + " ".join(
            site.page.locator("main input, main textarea").evaluate_all("all => all.map(one => one.value)")
        )
        for value in values:
            assert value in text, (path, value)
            if value in ("dst", "map", "key", "acct", "evt", "run"):
                assert f"{value}<script>" in text, (path, value)


FORMS = {
    "new destination": ("/console/destinations/new", "form.card"),
    "destination settings": ("{here}/settings", "form:has([name=currency])"),
    "new mapping": ("{here}/mappings/new", "form:has([name=name])"),
    "mapping": ("{here}/mappings/{mapping}", "form:has([name=event_name])"),
    "keys": ("/console/keys", "form.card"),
    "search": ("/console/events", "form[role=search]"),
    "event of a destination": ("{here}/events", "form[role=search]"),
    "filter of events": ("{here}/events", "form:has([name=reason])"),
    "filter of acts": ("/console/audit", "form.filters"),
    "hash tester": ("/console/hash-tester", "form.card"),
    "event names": ("/console/event-names", "form[role=search]"),
    "find a person": ("/console/privacy", "form.card"),
    "destinations": ("/console", "form[role=search]"),
}


@pytest.mark.parametrize(("path", "selector"), list(FORMS.values()), ids=list(FORMS))
def test_ten_kilobytes_of_markup_in_every_field_of_every_form(
    site: Site, hostile: Hostile, path: str, selector: str
) -> None:
    """Refused in words or not found, never a broken page, never markup."""
    site.allowed_failures |= {400, 404, 413, 414, 422, 431}
    here = f"/console/destinations/{hostile.destination}"
    site.open(path.format(here=here, mapping=hostile.mapping))
    form = site.page.locator(selector).first
    long = (MARK * 200)[:10_000]
    filled: Any = form.evaluate(
        """(form, long) => {
          const fields = [...form.querySelectorAll('input, textarea')].filter(one =>
            !['hidden', 'radio', 'checkbox', 'submit', 'date'].includes(one.type));
          for (const one of fields) { one.removeAttribute('maxlength'); one.value = long; }
          form.noValidate = true;
          return fields.length;
        }""",
        long,
    )
    assert filled > 0
    form.evaluate("form => form.requestSubmit()")
    site.page.wait_for_load_state()
    expect(site.page.locator("body")).to_be_visible()
    untouched(site)
    assert "Something broke" not in site.page.content()


def test_a_name_without_blanks_sticks_out_of_no_page(site: Site, hostile: Hostile) -> None:
    """On a phone. The choice of the destination of a copy was as wide as the longest name."""
    case, word = hostile.case, "W" * 100
    made = case.destination(word, ADVERTISER, "NA", "USD")
    case.connect(made)
    mapping = case.publish(made, {**MAPPING, "name": word, "event_name": f"name \" ' {RTL}"})
    here = f"/console/destinations/{made}"
    wide = []
    site.page.set_viewport_size(PHONE)
    for path in (
        "/console",
        "/console/privacy",
        here,
        *(
            f"{here}/{page}"
            for page in ("activate", "mappings", "settings", "notifications", "match-quality")
        ),
        *(f"{here}/mappings/{mapping}{page}" for page in ("", "/publish", "/versions", "/copy")),
    ):
        site.open(path)
        over = site.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        wide += [(path, over)] if over > 0 else []
    assert wide == []
