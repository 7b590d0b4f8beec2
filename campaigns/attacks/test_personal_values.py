"""No e-mail address and no phone number is stored, logged, measured or repeated, in whatever field."""

import argparse
from pathlib import Path

import pytest

from app.commands import scan_personal_data
from campaigns.attacks.personal_values import FORMS, TRACES, everywhere
from tests.edge.hostile_inputs import Target
from tests.edge.service import Service
from tests.pipeline.world import settings_of

pytestmark = [pytest.mark.process, pytest.mark.campaign]


def test_a_person_in_every_field_leaves_no_trace(
    attacked: tuple[Service, Target, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a hostile caller and as a person at the console who types a customer's address into a note."""
    service, target, log = attacked
    answers, leaks, failures = 0, [], []
    for answer in everywhere(service, target):
        answers += 1
        leaks += [f"{answer.place}: {answer.status}"] if answer.traces() else []
        failures += [f"{answer.place}: {answer.status}"] if answer.status == 500 else []
    assert answers > 1_800
    assert (leaks, failures) == ([], [])
    for name, text in (("log", log.read_text()), ("metrics", service.text("/metrics"))):
        assert [trace for trace in TRACES if trace in text.lower()] == [], name
    capsys.readouterr()
    arguments = argparse.Namespace(canary=[*FORMS, *TRACES])
    found = scan_personal_data.run(settings_of(service.product.database_url), arguments)
    assert found == 0, capsys.readouterr().out
