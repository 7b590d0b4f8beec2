"""The 207 response, correct or faulty: two lists with the outcome of each event by index (contract §4.1)."""

from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from sandbox import faults as menu
from sandbox.checks import Refusal
from sandbox.transport import Flood, Half, HangUp
from sandbox.vocabulary import Code

BODIES: Final[Mapping[str, tuple[bytes, str]]] = {
    "garbage": (b"\x00\x9f\x92\x96 not json", "application/json"),
    "html": (b"<html><body>Service</body></html>", "text/html"),
    "truncated": (b'{"success":[{"index":0,"ev', "application/json"),
    "empty": (b"", "application/json"),
    "deep": (b"[" * 100_000, "application/json"),
    "wrong_types": (b'{"success":{"0":true},"error":[{"index":"0","errors":null}]}', "application/json"),
}

_encode = msgspec.json.encode


def multistatus(
    bodies: Sequence[bytes],
    refused: Mapping[int, Sequence[Refusal]],
    *,
    echo: bool,
    missing: Container[int] = (),
    both: Container[int] = (),
) -> Response:
    """Build the response to a request with the events `bodies`.

    Faults leave the indexes `missing` out of both lists, and put the indexes `both` into both lists.
    """
    success: list[bytes] = []
    error: list[bytes] = []
    for index, body in enumerate(bodies):
        if index in missing:
            continue
        reasons = refused.get(index)
        if reasons is None or index in both:
            success.append(b'{"index":%d,"event":%b}' % (index, body if echo else b"null"))
        if reasons is not None:
            error.append(_error_entry(index, reasons))
        elif index in both:
            error.append(_error_entry(index, [_CONTRADICTION]))
    content = b'{"success":[%b],"error":[%b]}' % (b",".join(success), b",".join(error))
    return Response(content, 207, media_type="application/json")


_CONTRADICTION: Final = Refusal(Code.INTERNAL_ERROR, "In both lists, because of an active fault.", "")


def _error_entry(index: int, reasons: Sequence[Refusal]) -> bytes:
    here = f"events[{index}]"
    errors = [
        {"code": code, "message": message, "fieldLocation": f"{here}.{where}" if where else here}
        for code, message, where in reasons
    ]
    return b'{"index":%d,"errors":%b}' % (index, _encode(errors))


def refusals_of(fault: menu.AnyFault | None, event_ids: Sequence[str | None]) -> Mapping[int, list[Refusal]]:
    """Return the events that a `partial` fault refuses, by index."""
    if not isinstance(fault, menu.Partial):
        return {}
    if fault.event_ids is not None:
        struck = [index for index, event_id in enumerate(event_ids) if event_id in fault.event_ids]
    elif fault.indexes is not None:
        struck = [index for index in fault.indexes if index < len(event_ids)]
    else:
        struck = list(range(1, len(event_ids), 2))
    return {index: [Refusal(fault.code, "Refused because of an active fault.", "")] for index in struck}


def shaped(
    fault: menu.AnyFault | None,
    bodies: Sequence[bytes],
    refused: Mapping[int, Sequence[Refusal]],
    *,
    echo: bool,
) -> Response:
    """Return the correct response, or the response that `fault` makes of it."""
    match fault:
        case menu.MissingIndex():
            return multistatus(bodies, refused, echo=echo, missing=frozenset(fault.indexes))
        case menu.BothLists():
            return multistatus(bodies, refused, echo=echo, both=frozenset(fault.indexes))
        case menu.Empty207():
            return Response(b"{}", 207, media_type="application/json")
        case menu.Malformed(body="huge"):
            return Flood(status_code=fault.status)
        case menu.Malformed():
            content, media_type = BODIES[fault.body]
            return Response(content, fault.status, media_type=media_type)
        case menu.DropAfterAccept():
            return HangUp()
        case menu.CutShort():
            honest = multistatus(bodies, refused, echo=echo)
            return Half(honest.body, 207, media_type="application/json")
        case _:
            return multistatus(bodies, refused, echo=echo)
