"""Every hostile input that is a request, sent over a socket to a running service.

`ELSEWHERE` lists the rows that are no request to the API, with the tests that hold them; `NOT_APPLICABLE`
those whose route or field this API does not have.
"""

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.admin import inputs
from app.admin.destinations.settings import NewDestination
from app.config_as_code import file as files
from app.domain.strict_json import parse
from app.processes import application
from tests.edge.hostile_inputs import ROWS, Target, bytes_of
from tests.edge.service import EdgeService
from tests.edge.wire import Exchange, Response, Wire
from tests.waiting import wait_until

# Rows by their prefix or id, and where they are held.
ELSEWHERE = {
    "HI-FA": "replies of Amazon: tests/amazon/test_events_client.py, test_wire.py",
    "HI-FL": "replies of the token server: tests/amazon/test_sign_in.py",
    "HI-DB": "the database: tests/crashes, tests/pipeline/test_damaged_data.py, test_readiness.py",
    "HI-CF": "start: tests/commands/test_settings.py, test_doctor.py; tests/project/test_containers.py",
    "HI-LG": "logs: tests/console/test_seeded_faults.py, tests/api/test_errors.py",
    "HI-CO": "the console: tests/console/test_sessions.py, tests/console/test_roles.py",
    "HI-OA-003": "tests/api/test_oauth.py::test_a_used_state_is_400_and_asks_amazon_nothing",
    "HI-OA-006": "tests/api/test_oauth.py::test_an_expired_state_is_400_and_asks_amazon_nothing",
    "HI-OA-009": "tests/api/test_oauth.py::test_nothing_from_the_query_appears_in_an_error",
    "HI-OA-016": "tests/api/test_oauth.py::test_no_answer_and_no_audit_holds_a_token",
    "HI-OA-017": "tests/api/test_oauth.py::test_of_twenty_callbacks_at_once_one_exchanges_the_code",
    "HI-OA-018": "tests/api/test_oauth.py::test_what_amazon_does_not_confirm_changes_nothing",
    "HI-AD-037": "refused: tests/api/test_destinations.py",
    "HI-AD-051": "tests/api/test_destinations.py, test_matrix.py",
    "HI-AD-055": "tests/pipeline/test_erasing.py",
    "HI-AU-004": "tests/api/test_auth.py",
    "HI-TR-024": "one minute of dripping: tests/api/test_slow_clients.py",
    "HI-TR-025": "two minutes of dripping: tests/api/test_slow_clients.py",
    "HI-TR-032": "tests/api/test_slow_clients.py: a body that is announced and never sent",
    "HI-TR-035": "tests/pipeline/test_ledger_model.py, test_event_histories.py",
    "HI-TR-036": "tests/pipeline/test_single_round_trip_flush.py, test_ingest.py",
    "HI-EB-007": "tests/pipeline/test_single_round_trip_flush.py",
}
NOT_APPLICABLE = {
    "HI-OA-010": "no /oauth/start: POST /destinations/{id}/connect starts a sign-in and takes no address",
    "HI-OA-012": "no /oauth/start, as above",
    "HI-EV-173": "the event name is a constant of the mapping; the event's own name is catalogue data",
    "HI-EV-174": "the event name is a constant of the mapping, as above",
    "HI-EV-160": "a currency that Amazon does not know: the rule is in docs/reasons.md",
}
_KEY_ONLY = "interface §4.4: what is wrong with a match key costs the key, not the event"
# Rows whose answer differs from the case, or that allow several answers: the statuses, how many events are
# stored if the case does not say it, and the rule that wins or decides.
OVERRULED: dict[str, tuple[set[int], int | None, str]] = {
    "HI-MP-017": ({200}, None, "rows of custom data have any name of letters, digits and underscores"),
    **{
        row: ({202}, 1, _KEY_ONLY)
        for row in ("HI-EV-051", "HI-EV-052", "HI-EV-053", "HI-EV-055", "HI-EV-116")
    },
    "HI-EV-087": ({422}, 0, "interface §4.4: no match key is left"),
    "HI-TM-023": ({422}, 0, "interface §4.3: spaces around a time are trimmed, and this one is too old"),
}
CANARIES = ("canary.person", "2065550142", "206 555 0142", "Canaryfirst", "Canarylast")


def place_of(row: dict[str, Any]) -> str | None:
    """Return why a row is not sent, or None."""
    return next(
        (why for start, why in {**ELSEWHERE, **NOT_APPLICABLE}.items() if row["id"].startswith(start)), None
    )


SENT = [row for row in ROWS if place_of(row) is None]
SINGLE = [row for row in SENT if row["payload_recipe"]["op"] != "seq"]


def accepted(service: EdgeService, target: Target, *, sender_left: bool = False) -> int:
    """Return how many events the destination accepted so far, when no post is in progress.

    A post whose sender left may still be stored: it counts for its own row, not for the next one. Metrics are
    up to a second old, so only newer ones than the first tell that this post has ended.
    """
    old = service.text("/metrics") if sender_left else ""
    # The gauge counts no request but posts of events.
    wait_until(
        lambda: (text := service.text("/metrics")) != old and "event_requests_in_flight 0.0" in text,
        every=0.02,
    )
    return int(service.call("GET", f"/destinations/{target.destination}/stats")["counts"]["accepted"])


def _asks_to_wait(response: Response) -> bool:
    return response.status in (503, 507) and "retry-after" in response.headers


def send(port: int, steps: list[bytes | str], answers: int) -> Exchange:
    """Send the steps over one connection and return what came back."""
    wire = Wire(port)
    try:
        for step in steps:
            if step == "half_close":
                wire.end_sending()
            elif step == "reset":
                wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return wire.result
            else:
                assert isinstance(step, bytes)
                wire.send(step)
        return wire.read(until=answers)
    finally:
        wire.close()


def test_every_row_is_sent_or_listed() -> None:
    """No row is lost, and no entry of the lists is without a row."""
    listed = {**ELSEWHERE, **NOT_APPLICABLE}
    assert all(any(row["id"].startswith(start) for row in ROWS) for start in listed)
    assert len(SENT) + sum(place_of(row) is not None for row in ROWS) == len(ROWS)
    assert len(SENT) >= 150
    for why in ELSEWHERE.values():
        named = [word.strip(",:;") for word in why.split() if word.startswith("tests/")]
        assert named
        assert all(Path(word.split("::")[0]).exists() for word in named), why


@pytest.mark.parametrize("row", SINGLE, ids=lambda row: f"{row['id']}-{row['kind']}")
def test_a_hostile_input_is_answered_as_its_case_says(
    attacked: tuple[EdgeService, Target, Path], row: dict[str, Any]
) -> None:
    """Its status, what is stored, no 5xx without Retry-After, and no value of a person in the answer."""
    service, target, _ = attacked
    before = accepted(service, target)
    pipelined = 1000 if row["kind"] == "pipelined_1000" else 1
    got = send(service.port, bytes_of(row, target), pipelined)
    stored = accepted(service, target, sender_left=len(got.responses) < pipelined) - before
    expect = row["expect"]
    allowed, expected, _ = OVERRULED.get(row["id"], (set(expect.get("http", ())), None, ""))
    if allowed:
        assert got.statuses, (got.end, got.rest[:80])
        assert set(got.statuses) <= allowed, (got.statuses, got.responses[0].body[:400])
    for response in got.responses:
        # Interface §15: 501 and 505 are answers about the message.
        assert response.status < 500 or response.status in {501, 505} & allowed or _asks_to_wait(response)
        text = response.body.decode()
        assert not any(canary in text for canary in CANARIES)
        if response.status >= 400 and text:
            assert "error" in json.loads(text) or "results" in json.loads(text)
    assert len(got.responses) == pipelined or not allowed
    if expected is None:
        expected = expect.get("stored")
    if expected is not None:
        assert stored in (expected if isinstance(expected, list) else [expected])
    elif row["payload_recipe"]["op"] == "tcp":
        assert stored <= 1


def test_the_log_holds_no_traceback_and_no_person(attacked: tuple[EdgeService, Target, Path]) -> None:
    """After all rows the process still runs, and its metrics and log contain no personal data."""
    service, _, log = attacked
    written = log.read_text()
    metrics = send(service.port, [b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"], 1).responses[0].body.decode()
    assert "Traceback" not in written
    assert not any(canary in written or canary in metrics for canary in CANARIES)
    assert all(child.poll() is None for child in service.product.children.values())


# They import every body, so that the list does not depend on the tests that were collected before.
ALL_BODIES = (application, files)
BODIES = sorted(inputs.RequestBody.__subclasses__(), key=lambda model: model.__name__)


@pytest.mark.parametrize("model", BODIES)
@pytest.mark.parametrize("body", [b"1.5", b"-2.5e173", b"1e-38", b"7", b'"x"', b"[]", b"true"])
def test_no_request_body_is_read_from_what_is_no_object(model: type[inputs.RequestBody], body: bytes) -> None:
    """Validated as FastAPI does, with `from_attributes`."""
    with pytest.raises(ValidationError):
        TypeAdapter(model | None).validate_python(parse(body), from_attributes=True)


def test_no_member_is_read_from_a_fraction() -> None:
    """A rate limit of 1.5 was the default rate limit."""
    body = parse(
        b'{"name": "Acme", "advertiser_id": "580123", "region": "NA", "currency": "USD", "rate_limit": 1.5}'
    )
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(NewDestination).validate_python(body, from_attributes=True)
    assert [error["loc"] for error in refused.value.errors()] == [("rate_limit",)]
