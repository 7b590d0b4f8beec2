"""Show on the next page what an action did, with a link to continue. A cookie carries the confirmation to
that page.

Every POST of the console calls `redirect`, or shows its result on the page that it returns.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.admin.context import AppContext
from app.console.access.sessions import delete_cookie, set_cookie
from app.console.wording import events, read_integer
from app.domain.quantity import quantity

_COOKIE: Final = "console_done"
_LIFETIME: Final = timedelta(minutes=1)

# The sentences are fixed, so a forged cookie can show no other text. It can only change the number in a
# sentence.
SENTENCES: Final[Mapping[str, str]] = {
    "connected": "Connected to Amazon. Amazon confirmed access to the advertiser.",
    "created": "Destination created. Connect it to Amazon next.",
    "paused": "Delivery paused. Events are still accepted and wait until you resume.",
    "resumed": "Delivery resumed. Waiting events are being sent.",
    "pause_ended": "The pause ended. Nothing is sent until the service's operator resumes the organisation.",
    "disconnected": "Disconnected. The Amazon tokens were deleted. Events wait until you reconnect.",
    "deleted": "Destination deleted. It accepts no further events; its history remains.",
    "settings_saved": "Settings saved.",
    "currency_changed": "Currency changed to the Amazon account's currency. It applies to new purchases.",
    "key_revoked": "Key revoked. Requests with this key are refused, and its sessions have ended.",
    "session_ended": "Session ended. Its next request leads to the sign-in.",
    "mapping_created": "Mapping created. Complete its fields, then publish it.",
    "draft_saved": "Draft saved. Publish it to use it for new events.",
    "match_key_added": "Match key added to the draft. Check it, then publish it.",
    "shadow_started": "Shadow started. Its counts appear as events come in.",
    "shadow_ended": "Shadow ended. Its counts stay until the next one.",
    "mapping_copied": "Mapping copied as a draft. Review it, then publish it.",
    "mapping_deleted": "Mapping deleted. It accepts no more events.",
    "published": "Version {number} published. It applies to new events.",
    "rolled_back": "Rolled back to version {number}. It applies to new events; your draft is kept.",
    "name_changed": "The draft now uses the pinned event name. It is not published yet.",
    "renamed": "Event type renamed. Published mappings of this type were updated.",
    "test_sent": "Test event sent to the sandbox.",
    "retried": "Retry requested. Waiting events are sent now, unless Amazon asked to wait.",
    "replayed": "{events} queued again. Live events have priority.",
    "dismissed": "{events} dismissed. Dismissed events stay in the history and no longer count as open.",
    "event_renamed": "Event type renamed. {mappings} republished with the new name; new events use it.",
    "event_name_kept": "This event type already has that name. Nothing changed.",
    "incident_muted": "Incident muted for {number} h. It stays open and sends no messages.",
    "incident_unmuted": "Mute ended. Messages about this incident are sent again.",
    "notifications_saved": "Notification settings saved. They apply to the next message.",
    "thresholds_saved": "Thresholds saved. They apply within 15 seconds.",
    "maintenance_started": "Maintenance window started. Incidents send no messages for {number} h.",
    "maintenance_ended": "Maintenance window ended. Messages are sent again.",
    "callback_on": "Status callbacks are on. Each final state is reported from now on.",
    "callback_off": "Status callbacks are off. Waiting callbacks were dropped.",
    "erasure_requested": "Erasure requested. This person's data is no longer sent; stored data is erased.",
    "organisation_created": "Organisation created. Switch to it to create its destinations and keys.",
    "organisation_changed": "Organisation changed.",
    "organisation_suspended": "Organisation suspended. New events are rejected; accepted events wait.",
    "organisation_resumed": "Organisation resumed. Events are accepted again; waiting events are being sent.",
    "organisation_switched": "You now act for another organisation. Its name is at the top of every page.",
    "acknowledged": "Incident acknowledged. Daily reminders stop; a message is sent when it resolves.",
}

# The links to continue: label, address, and the sentences that have it. `{here}` stands for the page of the
# destination, `{mapping}` for the page of the mapping.
_TARGETS: Final = (
    ("Setup check", "{here}/preflight", "connected"),
    ("Connect to Amazon", "{here}#connect", "created"),
    ("Connect again", "{here}", "disconnected"),
    ("Overview", "{here}", "settings_saved callback_on callback_off"),
    ("Settings", "{here}/settings", "currency_changed"),
    ("Waiting events", "{here}/events?status=held", "paused pause_ended"),
    ("Requests", "{here}/requests", "retried"),
    ("Failed events", "{here}/events?status=dead", "dismissed"),
    ("Events", "{here}/events", "resumed mapping_deleted rolled_back replayed"),
    ("All mappings", "{here}/mappings", "mapping_created"),
    ("Review and publish", "{mapping}/publish", "draft_saved match_key_added mapping_copied name_changed"),
    ("Activate", "{here}/activate", "published test_sent"),
    ("Its counts", "{here}/match-quality", "shadow_started shadow_ended"),
    ("Deleted destinations", "/console?health=deleted", "deleted"),
    ("Event names", "/console/event-names", "renamed event_name_kept"),
    ("Audit entry", "/console/audit?action=event_name.renamed", "event_renamed"),
    ("Audit entry", "/console/audit?action=key.revoked", "key_revoked"),
    ("Audit", "/console/audit?kind=session", "session_ended"),
    ("Channels", "/console/notifications", "notifications_saved"),
    ("All incidents", "/console/incidents", "acknowledged incident_muted incident_unmuted thresholds_saved"),
    ("All incidents", "/console/incidents", "maintenance_started maintenance_ended"),
    ("All erasures", "/console/privacy#erasures", "erasure_requested"),
    ("All organisations", "/console/organisations", "organisation_created organisation_changed"),
    ("All organisations", "/console/organisations", "organisation_suspended organisation_resumed"),
    ("Organisations", "/console/organisations", "organisation_switched"),
)
LINKS: Final = {word: (label, address) for label, address, words in _TARGETS for word in words.split()}
_PLACE: Final = re.compile(r"(/console/destinations/dst_[0-9a-z]+)(/mappings/map_[0-9a-z]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ActionConfirmation:
    """What an action did, and a link to continue. `label` is None if there is no link."""

    sentence: str
    label: str | None = None
    link: str = ""


def redirect(context: AppContext, address: str, done: str, number: int | None = None) -> RedirectResponse:
    """Redirect after an action; the next page shows what it did.

    `done` is a key of `SENTENCES`; `number` is the number in its sentence.
    """
    assert done in SENTENCES
    response = RedirectResponse(address, 303)
    value = done if number is None else f"{done}.{number}"
    set_cookie(context, response, _COOKIE, value, max_age=_LIFETIME, path="/console")
    return response


def confirmation_of(request: Request) -> ActionConfirmation | None:
    """Return the confirmation of the previous action, or None if there was no action."""
    word, _, number = request.cookies.get(_COOKIE, "").partition(".")
    sentence = SENTENCES.get(word)
    if sentence is None:
        return None
    if "{" in sentence:
        if (count := read_integer(number, 9)) is None:
            return None
        sentence = sentence.format(number=number, events=events(count), mappings=quantity(count, "mapping"))
    label, link = LINKS.get(word, (None, ""))
    place = _PLACE.match(request.url.path)
    if place is None and "{" in link:
        return ActionConfirmation(sentence)
    if place is not None:
        link = link.format(here=place[1], mapping=place[0] if place[2] else place[1] + "/mappings")
    return ActionConfirmation(sentence, label, link)


def forget(context: AppContext, response: Response) -> None:
    """Remove the cookie, so that the sentence is shown once."""
    delete_cookie(context, response, _COOKIE, path="/console")
