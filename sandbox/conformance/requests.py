"""Cases of complete requests: the 207 response, limits, headers, and refusals of all events."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sandbox.conformance.accepted import TAKEN
from sandbox.conformance.answers import Outcome, outcome, problem
from sandbox.conformance.caller import Caller, Differs, document
from sandbox.conformance.events import EventCase, good
from sandbox.conformance.lists import LISTS
from sandbox.conformance.refused import REFUSED

_BAD_TIME: Final = {"eventTime": "2026-01-01 00:00"}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the report. `check` raises Differs. `sure` is explained in `events.py`."""

    id: str
    source: str
    says: str
    check: Callable[[Caller], None]
    sure: bool = True


def _now() -> datetime:
    return datetime.now(UTC)


def _sent(caller: Caller, events: list[Any]) -> Outcome:
    response = caller.send(events)
    return outcome(response.status_code, document(response), events=len(events))


def _event(case: EventCase) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        event = good(_now(), case.change)
        if case.taken:
            refused = _sent(caller, [event]).refused
            if refused:
                raise Differs(f"it was refused with {', '.join(refused[0])}")
            return
        response = caller.send([event])
        if response.status_code == 400:
            # The sources document both statuses: one invalid event may make Amazon refuse the complete
            # request (contract 10).
            problem(response.status_code, document(response), 400)
        elif not outcome(response.status_code, document(response), events=1).refused:
            raise Differs("it was accepted")

    return check


def _list(changes: list[dict[str, Any]]) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        refused = _sent(caller, [good(_now(), change) for change in changes]).refused
        if refused:
            first = min(refused)
            raise Differs(f"{len(refused)} refused, first number {first} ({', '.join(refused[first])})")

    return check


def _partial(caller: Caller) -> None:
    events = [good(_now(), _BAD_TIME if nth in (1, 4) else {}) for nth in range(6)]
    result = _sent(caller, events)
    if set(result.refused) != {1, 4}:
        raise Differs(f"events 1 and 4 of six are invalid, but refused are {sorted(result.refused)}")


def _bad_time_code(caller: Caller) -> None:
    result = _sent(caller, [good(_now(), _BAD_TIME)])
    if "BAD_REQUEST" not in result.refused.get(0, ()):
        raise Differs(f"the codes are {list(result.refused.get(0, ()))}")


def _again(caller: Caller) -> None:
    event = good(_now())
    for _ in range(2):
        if _sent(caller, [event]).refused:
            raise Differs("the same event was refused the second time")


def _many(number: int) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        if _sent(caller, [good(_now()) for _ in range(number)]).refused:
            raise Differs("some were refused")

    return check


def _large(caller: Caller) -> None:
    filler = [{"name": f"attr{n}", "value": "x" * 80} for n in range(10)]
    if _sent(caller, [good(_now(), {"customData": filler}) for _ in range(500)]).refused:
        raise Differs("some were refused")


def _too_many(caller: Caller) -> None:
    response = caller.send([good(_now()) for _ in range(501)])
    problem(response.status_code, document(response), 400, 413)


def _refused_body(body: Any, raw: bytes | None = None) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        response = caller.send_body(body, raw=raw)
        problem(response.status_code, document(response), 400)

    return check


def _no_event(caller: Caller) -> None:
    response = caller.send([good(_now()), 5])
    if response.status_code == 400:
        problem(400, document(response), 400)
    elif 1 not in outcome(response.status_code, document(response), events=2).refused:
        raise Differs("a number was accepted as an event")


def _headers(*statuses: int, without: str | None = None, **headers: str) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        own_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        response = caller.send([good(_now())], without=without, **own_headers)
        problem(response.status_code, document(response), *statuses)

    return check


def _unknown_path(caller: Caller) -> None:
    own_headers = {"Authorization": f"Bearer {caller.token}", "Amazon-Ads-ClientId": caller.client_id}
    response = caller.ask("POST", "/adsApi/v1/create/conversions", headers=own_headers, json={})
    if response.status_code != 404:
        raise Differs(f"returned {response.status_code}")


def _request_id(caller: Caller) -> None:
    if not caller.send([good(_now())]).headers.get("Amazon-Advertising-API-RequestId"):
        raise Differs("there is none")


REQUESTS: Final = (
    Case("seg-207", "OAS, SEG 4.1", "one valid event gets 207, index 0 under success", _many(1)),
    Case(
        "seg-207-partial",
        "OAS, SEG, GTMDOC 4.1",
        "invalid events are under error by index, others under success",
        _partial,
    ),
    Case("gtmdoc-001-code", "GTMDOC 2.1", "an invalid time is a 207 with BAD_REQUEST", _bad_time_code),
    Case(
        "oas-limit-500",
        "OAS 2",
        "500 events are accepted, each index reported once, from 0 to 499",
        _many(500),
    ),
    Case("p12-megabyte", "P12", "500 events of nearly a megabyte in total are accepted", _large),
    Case("oas-limit-501", "OAS 2", "501 events are too many", _too_many),
    Case("oas-001", "OAS 2", "an empty list of events is refused", _refused_body({"events": []})),
    Case("oas-001-missing", "OAS 2", "a body without events is refused", _refused_body({})),
    Case("oas-body-list", "OAS 2", "a list as body is refused", _refused_body([good(_now())])),
    Case(
        "oas-body-json",
        "OAS 2",
        "a body that is not JSON is refused",
        _refused_body(None, raw=b'{"events": ['),
    ),
    Case("oas-body-event", "OAS 2", "an event is an object", _no_event),
    Case("p5-again", "OAS 2.5", "the same event with the same id can be sent again", _again),
    Case("oas-401", "OAS 1", "without Authorization it is 401", _headers(401, without="Authorization")),
    Case(
        "oas-401-token",
        "OAS, DOCS 1",
        "with an invalid token it is 401",
        _headers(401, Authorization="Bearer Atza|none"),
    ),
    Case(
        "oas-client",
        "OAS 1",
        "without Amazon-Ads-ClientId it is refused",
        _headers(400, 401, 403, without="Amazon-Ads-ClientId"),
    ),
    Case(
        "oas-account",
        "OAS 1",
        "without Amazon-Ads-AccountId it is refused",
        _headers(400, 401, 403, without="Amazon-Ads-AccountId"),
    ),
    Case(
        "seg-set-adv",
        "SEG, CB 1",
        "an ENTITY id is not an account",
        _headers(400, 401, 403, 404, Amazon_Ads_AccountId="ENTITY1ABCDEF"),
        sure=False,
    ),
    Case("docs-404", "OAS 4.1", "another path is 404", _unknown_path, sure=False),
    Case("sdk-request-id", "third-party SDK 4.1", "a response has a request id", _request_id, sure=False),
)


def cases(region: str) -> list[Case]:
    """Return the cases of the events call for a region's host, in order."""
    hosts = {"everywhere", "eu" if region == "eu" else "not eu"}
    return [
        *REQUESTS,
        *(Case(name, source, says, _list(changes)) for name, source, says, changes in LISTS),
        *(
            Case(one.id, one.source, one.says, _event(one), one.sure)
            for one in (*TAKEN, *REFUSED)
            if one.where in hosts
        ),
    ]
