"""No e-mail address and no phone number is stored, logged, measured or repeated, in whatever field."""

import argparse
import json
from pathlib import Path

import pytest

from app.commands import scan_personal_data
from campaigns.attacks.personal_values import FORMS, TRACES, Sender, every_value, everywhere
from tests.edge.hostile_inputs import Target
from tests.edge.service import EdgeService
from tests.pipeline.world import settings_of

pytestmark = [pytest.mark.process, pytest.mark.campaign]


def scan(service: EdgeService, *canaries: str) -> int:
    """Search the database for these words; return the exit code."""
    settings = settings_of(service.product.database_url)
    return scan_personal_data.run(settings, argparse.Namespace(canary=list(canaries)))


@pytest.mark.parametrize("is_long", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_person_in_every_field_leaves_no_trace(
    attacked: tuple[EdgeService, Target, Path], capsys: pytest.CaptureFixture[str], is_long: bool
) -> None:
    """As a hostile caller and as a person at the console who types a customer's address into a note."""
    service, target, log = attacked
    answers, leaks, failures = 0, [], []
    for answer in everywhere(service, target, is_long=is_long):
        answers += 1
        leaks += [f"{answer.place}: {answer.status}"] if answer.traces() else []
        failures += [f"{answer.place}: {answer.status}"] if answer.status == 500 else []
    assert answers > (2_800 if is_long else 1_700)
    assert (leaks, failures) == ([], [])
    shown = (log.read_text() + service.text("/metrics")).lower()
    assert [trace for trace in TRACES if trace in shown] == []
    assert scan(service, *FORMS, *TRACES) == 0, capsys.readouterr().out


def test_no_value_of_an_event_is_stored_or_logged_in_clear(
    attacked: tuple[EdgeService, Target, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepted, previewed, suggested from and rejected: the words are in no row, log line or metric.

    A marker in the name of a destination proves that the search finds words that are there.
    """
    service, target, log = attacked
    planted, words = every_value(target)
    sender = Sender(service.port, target)
    place = f"/events?destination_id={target.destination}&mapping_id={target.mapping}"
    rejected = {**planted, "event_id": "qz-rejected", "event_time": "qzmarkertime"}
    accepted = sender.send("POST", place, json.dumps(planted).encode())
    refused = sender.send("POST", place, json.dumps(rejected).encode())
    mappings = f"/destinations/{target.destination}/mappings"
    preview = sender.send(
        "POST", f"{mappings}/{target.mapping}/preview", json.dumps({"event": planted}).encode()
    )
    suggested = sender.send("POST", f"{mappings}/suggest", json.dumps({"events": [planted]}).encode())
    assert [each.status for each in (accepted, refused, preview, suggested)] == [202, 422, 200, 200]
    words.append("qzmarkertime")
    shown = (log.read_text() + service.text("/metrics")).lower()
    assert [word for word in words if word in shown] == []
    assert scan(service, *words) == 0, capsys.readouterr().out
    renamed = sender.send("PATCH", f"/destinations/{target.destination}", b'{"name": "qzmarkername"}')
    assert renamed.status == 200
    assert scan(service, "qzmarkername") == 1
