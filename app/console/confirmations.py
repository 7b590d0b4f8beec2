"""Say on the next page what an action did. The word for it travels in a cookie for one page."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.admin.context import AppContext
from app.console.sessions import is_secure
from app.console.wording import events

_COOKIE: Final = "console_done"
_SECONDS: Final = 60

# Fixed sentences: a forged cookie can show no other text, except for another number.
SENTENCES: Final[Mapping[str, str]] = {
    "created": "Destination created. Connect it to Amazon next.",
    "paused": "Delivery paused. Events are still accepted and wait until you resume.",
    "resumed": "Delivery resumed. Waiting events are being sent.",
    "disconnected": "Disconnected. The Amazon tokens were deleted. Events wait until you reconnect.",
    "deleted": "Destination deleted. It accepts no further events; its history remains.",
    "settings_saved": "Settings saved.",
    "currency_changed": "Currency changed to that of the Amazon account. New purchases use it.",
    "check_confirmed": "Confirmed. Your key is recorded in the audit.",
    "check_withdrawn": "Confirmation withdrawn.",
    "key_revoked": "Key revoked. Requests with it are refused, and its sessions have ended.",
    "mapping_created": "Mapping created. Complete its fields, then publish it.",
    "draft_saved": "Draft saved. Publish it to use it for new events.",
    "mapping_deleted": "Mapping deleted. It accepts no more events.",
    "published": "Version {number} published. It applies to new events.",
    "rolled_back": "Rolled back to version {number}. It applies to new events; your draft is kept.",
    "name_changed": "The draft now uses the pinned event name. It is not published yet.",
    "renamed": "Event type renamed. Published mappings of this type were updated.",
    "replayed": "{events} queued again, after live traffic.",
    "acknowledged": "Incident acknowledged. Its daily reminders end; its end is still announced.",
}


def redirect(context: AppContext, address: str, done: str, number: int | None = None) -> RedirectResponse:
    """Redirect after an action; the next page says what was done.

    `done` is a word of `SENTENCES`; `number` is the number in its sentence.
    """
    assert done in SENTENCES
    response = RedirectResponse(address, 303)
    response.set_cookie(
        _COOKIE,
        done if number is None else f"{done}.{number}",
        max_age=_SECONDS,
        path="/console",
        secure=is_secure(context),
        httponly=True,
        samesite="lax",
    )
    return response


def sentence_of(request: Request) -> str | None:
    """Return what the action before this page did, if there was one."""
    word, _, number = request.cookies.get(_COOKIE, "").partition(".")
    sentence = SENTENCES.get(word)
    if sentence is None or "{" not in sentence:
        return sentence
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    return sentence.format(number=number, events=events(int(number)))


def forget(context: AppContext, response: Response) -> None:
    """Remove the word, so that it is shown once."""
    response.delete_cookie(_COOKIE, path="/console", secure=is_secure(context), httponly=True, samesite="lax")
