"""Eleven faults, read and repaired from the home page: what it says, the clicks and the seconds.

    python -m tests.console.stranger

It starts an instance of its own with the sandbox, causes all faults at once with the default thresholds, and
reads the home page as it changes. Then it acts as somebody does who knows only what the page says.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Locator, expect, sync_playwright

from tests.console.browsing import ARGUMENTS, CHROMIUM, Site, window
from tests.console.screens import CALM, DESK, PHONE, instance
from tests.console.showcase import Showcase, opened

READ_AFTER_S = (10, 25, 60)
SLOWEST_MS = 120_000


@dataclass(frozen=True)
class Patient:
    """A destination with a fault."""

    case: Showcase
    destination: str
    advertiser: str
    name: str

    def fail(self, **fault: Any) -> None:
        """Let the sandbox misbehave, and send some requests."""
        self.case.fault(self.advertiser, **fault)
        for _ in range(4):
            self.send(6)
            time.sleep(0.3)

    def heal(self) -> None:
        """Let Amazon behave again."""
        address = f"{self.case.product.amazon}/_sandbox/faults?advertiser_id={self.advertiser}"
        assert httpx.delete(address).status_code == 204

    def pause(self) -> None:
        self.case.ask("POST", f"/destinations/{self.destination}/pause")
        self.send(5)

    def send(self, number: int, *, without_timestamp: int = 0) -> None:
        events = self.case.events(self.destination, number)
        for event in events[:without_timestamp]:
            del event["event"]["timestamp"]
        self.case.send(events)


# What causes each fault, and the clicks that repair it: at the button of its incident, at its row in the
# list, or at a button with this name. Without clicks there is nothing to repair in the console.
INCIDENT, ROW = "the button of the incident", "the row of the destination"
FAULTS: dict[str, tuple[Callable[[Patient], None], tuple[str, ...]]] = {
    "sign-in revoked": (lambda patient: patient.fail(kind="revoked"), (INCIDENT, "Allow")),
    "403": (lambda patient: patient.fail(kind="403"), (INCIDENT, "Allow")),
    "404": (lambda patient: patient.fail(kind="404"), ()),
    "503": (lambda patient: patient.fail(kind="5xx"), (INCIDENT, "Retry now")),
    "no answer": (lambda patient: patient.fail(kind="never"), (INCIDENT, "Retry now")),
    "unreadable": (lambda patient: patient.fail(kind="malformed"), (INCIDENT, "Retry now")),
    "429": (lambda patient: patient.fail(kind="429", retry_after=2), ()),
    "207": (
        lambda patient: patient.fail(kind="partial", indexes=[0, 2], code="BAD_REQUEST"),
        (INCIDENT, "Replay"),
    ),
    "400": (lambda patient: patient.fail(kind="400"), (INCIDENT, "Replay")),
    "paused": (Patient.pause, (ROW, "Resume")),
    "rejected": (lambda patient: patient.send(120, without_timestamp=60), ()),
}


def incident(site: Site, patient: Patient) -> Locator:
    link = site.page.get_by_role("link", name=patient.name, exact=True)
    return site.page.locator(".incidents li", has=link)


def row(site: Site, patient: Patient) -> Locator:
    return site.page.locator("table.fleet tr", has_text=patient.name)


def read(site: Site, patient: Patient) -> str:
    """Return what the home page says of a destination."""
    found = incident(site, patient)
    words = (
        found.first.inner_text() if found.count() else row(site, patient).locator("td").nth(1).inner_text()
    )
    return " ".join(words.split())


def repair(site: Site, patient: Patient, clicks: tuple[str, ...]) -> None:
    """Click from the home page on, after Amazon behaves again."""
    patient.heal()
    site.open("/console")
    for click in clicks:
        if click == INCIDENT:
            incident(site, patient).locator(".primary").first.click()
        elif click == ROW:
            row(site, patient).locator("a").first.click()
        else:
            if click == "Allow":
                site.page.get_by_label("Also show this advertiser id (optional)").fill(patient.advertiser)
            site.page.get_by_role("button", name=re.compile(f"^{click}")).first.click()
        site.page.wait_for_load_state()
    if clicks:
        expect(site.page.locator("main .notice.good").first).to_be_visible()


def walk(case: Showcase, desk: Site, phone: Site) -> None:
    """Cause all faults, print what is read of each, repair them in turn at a desk and on a phone."""
    patients = {}
    for number, fault in enumerate(FAULTS):
        advertiser, name = str(590_000_000_000 + number), f"Shop with {fault}"
        destination = case.shop(name, advertiser)
        patients[fault] = Patient(case, destination, advertiser, name)
        patients[fault].send(3)
        case.drain(destination)
    for fault, patient in patients.items():
        FAULTS[fault][0](patient)
    began = time.monotonic()
    for seconds in READ_AFTER_S:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        desk.open("/console")
        for fault, patient in patients.items():
            print(f"{seconds} s, {fault}: {read(desk, patient)}", flush=True)
    for number, (fault, patient) in enumerate(patients.items()):
        clicks = FAULTS[fault][1]
        repair((desk, phone)[number % 2], patient, clicks)
        print(f"{fault}: {len(clicks)} clicks", flush=True)
    began = time.monotonic()
    desk.open("/console")
    for fault, patient in patients.items():
        if fault != "rejected":  # until the sender sends good events
            expect(incident(desk, patient)).to_have_count(0)
            print(f"{fault}: no incident after {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Start an instance, and walk."""
    expect.set_options(timeout=SLOWEST_MS)
    with instance() as (product, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with (
            window(browser, product, DESK, color_scheme="light", **CALM) as desk,
            window(browser, product, PHONE, color_scheme="dark", **CALM) as phone,
        ):
            walk(opened(product), desk, phone)
        browser.close()


if __name__ == "__main__":
    main()
