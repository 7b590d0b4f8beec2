"""Seven faults found, fixed and verified from the home page: clicks and seconds.

    python -m tests.console.stranger

It starts an instance of its own with the sandbox, causes one fault after the other, and acts as somebody does
who knows only that something is wrong: read the open incident, click its button, wait until it is closed.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import Locator, expect, sync_playwright

from tests.console.browsing import ARGUMENTS, CHROMIUM, Site
from tests.console.screens import DESK, instance, window
from tests.console.showcase import Showcase, opened

SLOWEST_MS = 120_000


@dataclass(frozen=True)
class Patient:
    """A destination with a fault, and the browser of the person who looks for it."""

    case: Showcase
    site: Site
    destination: str
    advertiser: str
    name: str

    @property
    def incident(self) -> Locator:
        return self.site.page.locator(".incidents li", has_text=self.name)

    def press(self) -> None:
        """Click the button of the incident."""
        self.incident.locator(".primary").first.click()

    def heal(self) -> None:
        """Let Amazon behave again."""
        address = f"{self.case.product.amazon}/_sandbox/faults?advertiser_id={self.advertiser}"
        assert httpx.delete(address).status_code == 204

    def allow(self) -> None:
        """Sign in at the sandbox."""
        page = self.site.page
        page.get_by_label("Also show this advertiser id (optional)").fill(self.advertiser)
        page.get_by_role("button", name="Allow").click()
        page.wait_for_url("**/console/**")

    def alert(self, **thresholds: Any) -> None:
        self.case.ask("PATCH", f"/destinations/{self.destination}", {"alerting": thresholds})

    def send(self, number: int, *, without_timestamp: int = 0) -> None:
        events = self.case.events(self.destination, number)
        for event in events[:without_timestamp]:
            del event["event"]["timestamp"]
        self.case.send(events)


def fail(patient: Patient, **fault: Any) -> None:
    patient.case.fault(patient.advertiser, **fault)
    patient.send(12)


def pause(patient: Patient) -> None:
    patient.alert(backlog={"minutes": 0.2})
    patient.case.ask("POST", f"/destinations/{patient.destination}/pause")
    patient.send(5)


def throttle(patient: Patient) -> None:
    patient.alert(throttled={"minutes": 0.2})
    fail(patient, kind="429", retry_after=2)


def reject(patient: Patient) -> None:
    patient.alert(rejections={"window_seconds": 60})
    patient.send(70, without_timestamp=35)


def reconnect(patient: Patient) -> int:
    patient.heal()
    patient.press()
    patient.allow()
    return 2


def grant_and_reconnect(patient: Patient) -> int:
    patient.press()
    patient.heal()
    patient.site.open("/console")
    patient.incident.locator("a").nth(1).click()
    patient.site.page.get_by_role("button", name="Reconnect").first.click()
    patient.allow()
    return 4


def replay(patient: Patient) -> int:
    patient.heal()
    patient.press()
    patient.site.page.get_by_role("button", name=re.compile("^Replay")).click()
    return 2


def press(patient: Patient) -> int:
    patient.press()
    patient.heal()
    return 1


FAULTS: dict[str, tuple[Callable[[Patient], None], Callable[[Patient], int]]] = {
    "revoked sign-in": (lambda patient: fail(patient, kind="revoked"), reconnect),
    "403": (lambda patient: fail(patient, kind="403"), grant_and_reconnect),
    "503": (lambda patient: fail(patient, kind="5xx"), press),
    "429": (throttle, press),
    "refused events": (
        lambda patient: fail(patient, kind="partial", indexes=[0, 2], code="BAD_REQUEST"),
        replay,
    ),
    "rejected events": (reject, press),
    "forgotten pause": (pause, press),
}


def walk(patient: Patient, fault: str) -> str:
    """Cause a fault, fix it from the home page, wait until its incident is closed; return a line."""
    cause, fix = FAULTS[fault]
    patient.site.open("/console")
    cause(patient)
    began = time.monotonic()
    expect(patient.incident).to_be_visible()
    shown = time.monotonic() - began
    title = patient.incident.locator("a.strong").first.inner_text()
    button = patient.incident.locator(".primary").first.inner_text()
    began = time.monotonic()
    clicks = fix(patient)
    patient.site.page.wait_for_load_state()
    patient.site.open("/console")
    expect(patient.incident).to_have_count(0)
    closed = time.monotonic() - began
    return f"| {fault} | {title} | {button} | {shown:.0f} | {clicks} | {closed:.0f} |"


def main() -> None:
    """Start an instance and print one line a fault."""
    expect.set_options(timeout=SLOWEST_MS)
    print(
        "| fault | incident | button | shown after, s | clicks | closed after, s |\n|---|---|---|---|---|---|"
    )
    with instance() as (product, _), sync_playwright() as playwright:
        case = opened(product)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with window(browser, product, DESK, "light") as site:
            for number, fault in enumerate(FAULTS):
                advertiser, name = str(590_000_000_000 + number), f"Shop with {fault}"
                destination = case.destination(name, advertiser, "NA", "USD")
                case.connect(destination)
                case.publish(destination)
                print(walk(Patient(case, site, destination, advertiser, name), fault), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
