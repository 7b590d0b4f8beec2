"""Errors in one shape on every route, and nothing of what was sent in them (interface §2)."""

import json
import logging
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import DBAPIError

from app.admin import ErrorCode, Problem, error_body
from app.api.errors import STATUSES, status_of
from app.domain.admission import SHED_SPECS, ShedReason
from app.ingest.evaluate import PendingRequest
from app.telemetry import JsonLines
from tests.api.test_ways_in import application, within
from tests.api.world import BOOTSTRAP, DESTINATION, EVENT, ApiWorld, FakeIntake
from tests.tables import cases


def test_every_word_has_a_status_and_a_sentence() -> None:
    """The table is total: a new word without a row fails here."""
    assert set(STATUSES) == set(ErrorCode)
    for word in ErrorCode:
        assert 400 <= status_of(Problem(word)) <= 599
        assert error_body(Problem(word))["detail"].endswith(".")


@pytest.mark.reads_only
@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/destinations/",
        "/destinations/x/y/z",
        "/%00",
        "/é",
        "/events/a%00b?destination_id=x",
        *(f"/destinations/{id_}" for id_ in ("dst_00000000000000000000", "x", "dst_%00", "..%2fx")),
    ],
)
async def test_an_unknown_path_is_404(world: ApiWorld, path: str) -> None:
    """Without a redirect, in the one shape. So is an id that does not exist, whatever it is."""
    answer = await world.call("GET", path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


MALFORMED = {
    "half an object": (b"{", "not_json"),
    "NaN": (b'{"name": NaN}', "not_json"),
    "a number beyond a double": (b'{"name": 1e999}', "number_out_of_range"),
    "a key twice": (b'{"name": "a", "name": "b"}', "duplicate_key"),
    "half a surrogate pair": (b'{"name": "\\ud800"}', "lone_surrogate"),
    "NUL": (b'{"name": "a\\u0000"}', "nul_character"),
    "not UTF-8": (b'{"name": "\xff"}', "not_utf8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "byte_order_mark"),
    "100 levels": (b'{"name":' + b"[" * 100 + b"]" * 100 + b"}", "too_deep"),
    "100,000 open brackets": (b'{"name":' + b"[" * 100_000, "not_json"),
}


@cases(("body", "reason"), MALFORMED)
async def test_a_body_without_a_single_reading_is_400(world: ApiWorld, body: bytes, reason: str) -> None:
    """`malformed`, with a stable reason, on every kind of administrative body."""
    made = await world.create_destination()
    for method, path in (
        ("POST", "/destinations"),
        ("PATCH", f"/destinations/{made['id']}"),
        ("POST", f"/destinations/{made['id']}/mappings"),
        ("POST", f"/destinations/{made['id']}/pause"),
        ("POST", "/keys"),
    ):
        answer = await world.call(method, path, body)
        assert (answer.status_code, answer.json()["error"]) == (400, "malformed")
        if len(body) < 10_000:
            assert answer.json()["reason"] == reason


@pytest.mark.reads_only
@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"true", None])
async def test_a_body_that_is_no_object_is_422(world: ApiWorld, body: bytes | None) -> None:
    """With the field `body`. A missing one needs no Content-Type."""
    answer = await world.call("POST", "/destinations", body, status=422)
    problem = "missing" if body is None else "not_an_object"
    assert answer.json()["fields"] == [{"field": "body", "problem": problem}]


@pytest.mark.reads_only
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": ""},
    ],
)
async def test_another_media_type_is_415(world: ApiWorld, headers: dict[str, str]) -> None:
    """JSON in UTF-8, not compressed."""
    for method, path in (("POST", "/destinations"), ("PUT", "/destinations/dst_x/notifications")):
        answer = await world.call(method, path, b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


async def test_json_with_the_charset_utf8_is_accepted(world: ApiWorld) -> None:
    """The one parameter that is common."""
    headers = {"Content-Type": 'application/json; charset="UTF-8"'}
    await world.call("POST", "/destinations", DESTINATION, headers=headers, status=201)


@pytest.mark.reads_only
async def test_a_body_over_one_mib_is_413_with_or_without_a_length(world: ApiWorld) -> None:
    """By Content-Length at once; without one as soon as it is too much."""
    body = b'{"name": "' + b"x" * 1024 * 1024 + b'"}'
    answer = await world.call("POST", "/destinations", body)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")

    async def in_pieces() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await world.client.post(
        "/destinations",
        content=in_pieces(),
        headers={"Authorization": f"Bearer {BOOTSTRAP}", "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


@pytest.mark.reads_only
async def test_no_value_that_was_sent_is_repeated(world: ApiWorld) -> None:
    """Neither in `detail` nor in `fields`, nor as the name of an unknown field that is no name."""
    secret = "ada@example.com"
    for body in (
        {**DESTINATION, "region": secret, "advertiser_id": secret, "currency": secret, secret: 1},
        {**DESTINATION, "rate_limit": {"burst": secret, secret: secret}},
        {**DESTINATION, "name": [secret]},
    ):
        answer = await world.call("POST", "/destinations", body, status=422)
        assert secret not in answer.text


async def pause_that_fails(world: ApiWorld, error: Exception) -> httpx.Response:
    """Pause a destination, which raises this error."""

    async def fail(*_: object) -> None:
        raise error

    world.delivery_control.quiesce = fail  # type: ignore[method-assign]
    return await world.call("POST", f"/destinations/{(await world.create_destination())['id']}/pause")


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


async def test_the_unforeseen_is_500_without_a_trace_and_logged_without_values(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The log line is an event with fields: the error's type and places, and no message."""
    with caplog.at_level(logging.INFO):
        answer = await pause_that_fails(world, ValueError("ada@example.com"))
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert answer.headers["x-request-id"]
    lines = logged(caplog)
    assert "ada@example.com" not in answer.text + str(lines)
    assert "Traceback" not in answer.text + str(lines)
    (unexpected,) = [line for line in lines if line["event"] == "api.unexpected_error"]
    assert unexpected["error"].startswith("ValueError at ")
    assert " > destinations:" in unexpected["error"]
    assert [line["status"] for line in lines if line["event"] == "http.request"][-1] == 500


async def test_a_lost_notification_is_logged_and_changes_nothing(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is committed; workers notice it later."""

    async def broken(*_: object) -> None:
        raise ConnectionRefusedError

    made = await world.create_destination()
    world.delivery_control.wake = broken  # type: ignore[method-assign]
    await world.call("POST", f"/destinations/{made['id']}/pause")
    assert (await world.call("POST", f"/destinations/{made['id']}/resume")).status_code == 200
    (failed,) = [line for line in logged(caplog) if line["event"] == "delivery.wake_failed"]
    assert failed["error"].startswith("ConnectionRefusedError at ")
    assert failed["destination_id"] == made["id"]


async def test_a_database_that_is_away_is_503_with_retry_after(world: ApiWorld) -> None:
    """Nothing was changed, and trying again is right."""
    for error in (ConnectionRefusedError(), DBAPIError("x", {}, Exception(), connection_invalidated=True)):
        answer = await pause_that_fails(world, error)
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.headers["retry-after"]


async def test_the_log_names_the_sqlstate_of_an_error_that_sqlalchemy_wraps(
    world: ApiWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that starts, one without connections and one that stops are different repairs."""

    class Starting(Exception):
        sqlstate = "57P03"

    assert (await pause_that_fails(world, DBAPIError("x", {}, Starting()))).status_code == 503
    (unavailable,) = [line for line in logged(caplog) if line["event"] == "api.database_unavailable"]
    assert unavailable["error"].startswith("DBAPIError[57P03] at ")


@pytest.mark.reads_only
@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        *((query, 400, None) for query in ("q=%00", "q=a%00b", "state=%00", "cursor=%00")),
        *((f"limit={number}", 422, "out_of_range") for number in ("-1", "0", "201")),
        *((f"limit={text}", 422, "not_an_integer") for text in ("x", "-", "--1", "1.0", "%2B1", "1_0", "")),
        *((f"cursor={text}", 422, "invalid") for text in ("x", "MTIz!", "é", "LTE", "MSAy", "OTk5OTk5OTk5")),
        ("state=no", 422, "not_in_list"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused(
    world: ApiWorld, query: str, status: int, problem: str | None
) -> None:
    """NUL is 400, a parameter out of range or a cursor that is not ours 422, never a 500."""
    answer = await world.call("GET", f"/destinations?{query}")
    assert (answer.status_code, set(answer.json()) >= {"error", "detail"}) == (status, True)
    assert [each["problem"] for each in answer.json()["fields"]] == ([problem] if problem else [])


@pytest.mark.reads_only
async def test_every_answer_has_safe_headers_and_a_request_id(world: ApiWorld) -> None:
    """Errors too; a harmless id of the caller's is kept, another one replaced."""
    for path in ("/destinations", "/nothing", "/health/live"):
        answer = await world.call("GET", path, headers={"X-Request-Id": "abc-1"})
        assert answer.headers["x-request-id"] == "abc-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    answer = await world.call("GET", "/health/live", headers={"X-Request-Id": "a b\tc"})
    assert answer.headers["x-request-id"] != "a b\tc"


class _RefusingIntake(FakeIntake):
    """An intake whose database stores nothing."""

    async def store(self, request: PendingRequest) -> None:
        return None


@pytest.mark.reads_only
async def test_events_that_could_not_be_stored_are_refused_with_a_time_to_wait(world: ApiWorld) -> None:
    """`Retry-After` is a header, spread over some seconds; the body has the journey code."""
    async with within(application(world, _RefusingIntake())) as client:
        answer = await client.post("/events", json={**EVENT, "destination_id": "dst_00000000000000000000"})
    assert answer.status_code == 503
    spec = SHED_SPECS[ShedReason.COMMITS]
    assert spec.soonest_s <= int(answer.headers["Retry-After"]) <= spec.latest_s
    assert set(answer.json()) == {"error", "detail", "fields", "code"}
