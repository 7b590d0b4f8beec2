"""Say on the next page what an action did. The word for it travels in a cookie for one page."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

_COOKIE: Final = "console_done"
_SECONDS: Final = 60

# Fixed sentences: a forged cookie can show no other text.
SENTENCES: Final[Mapping[str, str]] = {
    "created": "Destination created. Connect it to Amazon next.",
    "paused": "Delivery paused. Events are still accepted and wait until you resume.",
    "resumed": "Delivery resumed. Waiting events are being sent.",
    "disconnected": "Disconnected. The Amazon tokens were deleted. Events wait until you reconnect.",
    "deleted": "Destination deleted. It accepts no further events; its history remains.",
    "currency_changed": "Currency changed to that of the Amazon account. New purchases use it.",
    "check_confirmed": "Confirmed. Your key is recorded in the audit.",
    "check_withdrawn": "Confirmation withdrawn.",
    "key_revoked": "Key revoked. Requests with it are refused, and its sessions have ended.",
}


def redirect(address: str, done: str) -> RedirectResponse:
    """Redirect after an action; the next page says what was done. `done` is a word of `SENTENCES`."""
    assert done in SENTENCES
    response = RedirectResponse(address, 303)
    response.set_cookie(_COOKIE, done, max_age=_SECONDS, path="/console", httponly=True, samesite="lax")
    return response


def sentence_of(request: Request) -> str | None:
    """Return what the action before this page did, if there was one."""
    return SENTENCES.get(request.cookies.get(_COOKIE, ""))


def forget(response: Response) -> None:
    """Remove the word, so that it is shown once."""
    response.delete_cookie(_COOKIE, path="/console", httponly=True, samesite="lax")
