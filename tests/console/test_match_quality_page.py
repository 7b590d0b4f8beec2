"""The page of match quality: from Amazon's number to the causes, each with its number and its button."""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.amazon.client import EventsClient
from app.console.match_quality import DIFFERENCES, RULES, gap_causes, not_accepted
from app.domain.ids import MappingId
from app.domain.match_quality.dedupe import DedupeFinding, FindingKind, IdDifference
from app.domain.match_quality.foreign_hash import REMEDIES
from app.domain.match_quality.reconciliation import DayCounts
from tests.console.test_sessions import PAGE
from tests.pipeline.conftest import service
from tests.pipeline.rows import MAPPING
from tests.pipeline.service import Service
from tests.pipeline.test_personal_data_scan import scan
from tests.pipeline.world import event

__all__ = ["service"]


class Visitor:
    """A browser on the page of a destination."""

    def __init__(self, service: Service, destination: str) -> None:
        transport = service.client._transport
        headers = {**PAGE, "Origin": "http://localhost"}
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)
        self.page = f"/console/destinations/{destination}/match-quality"
        self.key, self.token = service.key, ""

    async def open(self) -> str:
        await self.client.post("/console/sign-in", data={"key": self.key})
        answer = await self.client.get(self.page)
        assert answer.status_code == 200, answer.text
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', answer.text)
        assert found is not None
        self.token = found[1]
        return answer.text

    async def send(self, form: str, **data: str) -> str:
        """Send a form and return the notice that answers it."""
        answer = await self.client.post(f"{self.page}/{form}", data={"csrf": self.token, **data})
        assert answer.status_code == 200, answer.text
        found = re.search(r'class="notice[^"]*" role="status">(.*?)</section>', answer.text, re.DOTALL)
        assert found is not None, answer.text
        return re.sub(r"<[^>]+>", "", found[1])


PAGE_OF = "/console/destinations/dst_1"


def finding(kind: FindingKind) -> DedupeFinding:
    return DedupeFinding(kind, MappingId("map_1"), 7, None, "A sentence.", "A remedy.")


@pytest.mark.parametrize(
    ("gap", "kinds"), [(5, [FindingKind.PER_SESSION]), (0, []), (-5, [FindingKind.DERIVED])]
)
def test_only_faults_that_explain_the_direction_of_a_gap_are_causes(
    gap: int, kinds: list[FindingKind]
) -> None:
    """An id that never meets the tag's makes Amazon show more, and shared ids make it show fewer."""
    both = [finding(FindingKind.DERIVED), finding(FindingKind.PER_SESSION)]
    found = gap_causes(gap, [], both, PAGE_OF)
    assert [each.address for each in found] == [f"{PAGE_OF}/mappings/map_1"] * len(kinds)
    assert [each.sentence for each in found] == ["of mapping ?: A sentence. A remedy."] * len(kinds)


def test_what_amazon_never_accepted_is_listed_without_zeros() -> None:
    """What was accepted here and is in no other column failed here."""
    counts = DayCounts(
        accepted=20, amazon_accepted=9, amazon_refused=4, waiting=2, without_consent=3, rejected=1
    )
    assert [(each.count, each.button) for each in not_accepted(counts, PAGE_OF)] == [
        (3, "View rejected"), (1, "View rejected"), (4, "View errors"), (5, "View errors"),
        (2, "Open overview"),
    ]  # fmt: skip


def test_every_rule_and_every_difference_has_words() -> None:
    """The page names none of them by its code."""
    assert RULES.keys() == REMEDIES.keys()
    assert DIFFERENCES.keys() == set(IdDifference)


def with_mobile(number: int) -> dict[str, Any]:
    made = event(number)
    made["user"]["mobile"] = f"+1202555{number:04}"
    return made


async def test_the_walk_from_amazons_number_to_the_causes(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gap is explained, a hash named, ids compared, a test sent; nothing typed is repeated or stored."""
    world = service.world
    state = service.client._transport.app.state  # type: ignore[attr-defined]
    sender = EventsClient("client", "http://amazon.test", world.amazon.client())
    state.context = replace(state.context, send_conversions=sender.send)
    destination = await world.destination()
    world.work()
    await service.post(destination, *(with_mobile(n) for n in range(8)))
    await world.until(destination, delivered=8)
    await world.stop_workers()
    visitor = Visitor(service, destination)
    page = await visitor.open()
    assert "8 events (100 %)" in page
    assert "Add to draft" in page
    assert "never equals an id of Amazon" in page
    day = datetime.fromisoformat(with_mobile(1)["event"]["timestamp"]).astimezone(UTC).date()
    assert "6 of 8 conversions" in await visitor.send("explain", row=f"{day} Added to cart", amazon_count="6")
    digest = hashlib.sha256(b"+12025550001").hexdigest()
    named = await visitor.send("hash", field="phone", value="+1 202 555 0001", hash=digest)
    assert "Rule: phone number with +." in named
    assert digest not in named
    typed = "someone@example.com"
    compared = await visitor.send("compare", ids=f"a\nb\n{typed}\n")
    assert "3 are only in your list, 8 events only here" in compared
    test = {"dataset_name": "Tests", "count": "2"}
    asked = {"value": "+1 202 555 0001", "hash": digest, "country": "Utopia"}
    for form, data, sentence in (
        ("compare", {"ids": "9" * 3_000}, "Too long."),
        ("hash", asked, "Write the country as two letters, such as US or DE."),
        ("test", {**test, "test_name": "Added to cart"}, "Events are sent under this name."),
    ):
        refused = await visitor.client.post(f"{visitor.page}/{form}", data={"csrf": visitor.token, **data})
        assert (refused.status_code, refused.text.count(sentence)) == (422, 1)
    sent = await visitor.send("test", test_name="Test", **test)
    assert "Amazon answered 207." in sent
    assert sent.count("accepted") == 2
    in_clear = (typed, "person1@example.com", "+12025550001", "+1 202 555 0001")
    assert await scan(world, capsys, *in_clear) == (0, [])
    await visitor.client.aclose()


async def test_a_row_is_added_by_one_click_and_a_shadow_follows(service: Service) -> None:
    """The draft has the path behind the present one; the shadow's counts appear on the page."""
    world = service.world
    destination = await world.destination()
    (row,) = await world.fetch("SELECT id FROM mappings WHERE destination = $1", destination)
    await service.post(destination, *(with_mobile(n) for n in range(8)))
    visitor = Visitor(service, destination)
    assert "The draft equals the published version." in await visitor.open()
    data = {"csrf": visitor.token, "mapping": row["id"]}
    added = await visitor.client.post(
        f"{visitor.page}/add", data={**data, "field": "phone", "path": "user.mobile"}
    )
    assert (added.status_code, added.headers["location"]) == (
        303, f"/console/destinations/{destination}/mappings/{row['id']}",
    )  # fmt: skip
    draft = await service.get(f"/destinations/{destination}/mappings/{row['id']}")
    assert draft["fields"]["phone"] == {"path": "user.mobile"}
    gone = await visitor.client.post(f"{visitor.page}/add", data={**data, "field": "email", "path": "x"})
    assert gone.status_code == 404
    wrong = await visitor.client.post(f"{visitor.page}/shadow", data={**data, "percent": "0", "minutes": "5"})
    assert (wrong.status_code, "The share is 1 to 100 %" in wrong.text) == (422, True)
    assert re.findall(r'name="(percent|minutes)" value="(\d+)"', wrong.text) == [
        ("percent", "0"),
        ("minutes", "5"),
    ]
    await visitor.client.post(f"{visitor.page}/shadow", data={**data, "percent": "100", "minutes": "5"})
    await service.post(destination, *(with_mobile(n) for n in range(10, 14)))
    page = (await visitor.client.get(visitor.page)).text
    assert "4 events: 0 the same, 4 different" in page
    assert "4 gain it" in page
    await visitor.client.aclose()


async def test_a_draft_that_differs_only_by_true_and_1_has_a_shadow(service: Service) -> None:
    """Python calls them equal, JSON does not."""
    constant = {"name": "member", "const": True}
    destination = await service.world.destination(mapping={**MAPPING, "custom_data": [constant]})
    (row,) = await service.world.fetch("SELECT id FROM mappings WHERE destination = $1", destination)
    visitor = Visitor(service, destination)
    page = await visitor.open()
    assert ("The draft equals" in page, "Start shadow" in page) == (True, False)
    assert "Recent events show no" not in page  # there are none
    changed = await service.client.patch(
        f"/destinations/{destination}/mappings/{row['id']}", json={"custom_data": [{**constant, "const": 1}]}
    )
    assert changed.status_code == 200, changed.text
    page = await visitor.open()
    assert ("The draft equals" in page, "Start shadow" in page) == (False, True)
    await visitor.client.aclose()
