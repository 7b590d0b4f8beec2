"""The console of a suspended organisation: it names the suspension and who can end it."""

import re

import pytest

from tests.console.test_confirmations import Case

_PAGE = "/console/destinations/{destination_id}"


def buttons(page: str) -> set[str]:
    return {text.strip() for text in re.findall(r"<button[^>]*>([^<]*)</button>", page)}


@pytest.mark.parametrize("also_paused", [False, True])
async def test_no_button_resumes_a_destination_of_a_suspended_organisation(
    case: Case, also_paused: bool
) -> None:
    """Only the organisation can be resumed, so that the buttons of the destination would do nothing."""
    if also_paused:
        await case.post(_PAGE + "/pause")
    await case.world.call("POST", "/organisations/default/suspend")
    page = (await case.world.client.get(_PAGE.format(**case.ids))).text
    assert not {"Resume", "Pause"} & buttons(page)
    assert re.search(r'class="pill[^>]*>Suspended<', page)
    assert "until the operator of this service resumes the organisation" in page
    assert not re.search(r'class="pill[^>]*>Paused<', page)
    assert "while the destination is paused" not in page
    home = (await case.world.client.get("/console")).text
    assert re.search(r'class="pill[^>]*>Suspended<', home)
    assert "Resume" not in buttons(home)


async def test_resuming_from_an_old_page_does_not_claim_that_events_are_sent(case: Case) -> None:
    """A page that was opened before the suspension still has the button."""
    await case.post(_PAGE + "/pause")
    await case.world.call("POST", "/organisations/default/suspend")
    answer = await case.post(_PAGE + "/resume")
    page = (await case.world.client.get(answer.headers["location"])).text
    assert "Waiting events are being sent" not in page
    assert "Nothing is sent until the service&#39;s operator resumes the organisation" in page
