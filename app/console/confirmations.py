"""Show on the next page what an action did, with a link to continue. A cookie carries the confirmation to
that page.

Every POST of the console calls `redirect`, or shows its result on the page that it returns.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.admin.context import AppContext
from app.console.access.sessions import is_secure
from app.console.wording import events

_COOKIE: Final = "console_done"
_SECONDS: Final = 60

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
    "check_confirmed": "Check confirmed. The audit records who confirmed it.",
    "check_withdrawn": "Confirmation withdrawn.",
    "key_revoked": "Key revoked. Requests with this key are refused, and its sessions have ended.",
    "session_ended": "Session ended. Its next request leads to the sign-in.",
    "mapping_created": "Mapping created. Complete its fields, then publish it.",
    "draft_saved": "Draft saved. Publish it to use it for new events.",
    "match_key_added": "Match key added to the draft. Check it, then publish it.",
    "shadow_started": "Shadow started. Its counts appear as events come in.",
    "shadow_ended": "Shadow ended. Its counts stay until the next one.",
    "mapping_copied": "Mapping copied as a draft. Review it, then publish it.",
    "destination_copied": "Destination copied; its mappings are drafts. Connect it to Amazon next.",
    "mapping_deleted": "Mapping deleted. It accepts no more events.",
    "published": "Version {number} published. It applies to new events.",
    "rolled_back": "Rolled back to version {number}. It applies to new events; your draft is kept.",
    "name_changed": "The draft now uses the pinned event name. It is not published yet.",
    "renamed": "Event type renamed. Published mappings of this type were updated.",
    "test_sent": "Test event sent to the sandbox.",
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

# The link for each sentence: its label and its address. `{here}` stands for the page of the destination,
# `{mapping}` for the page of the mapping.
LINKS: Final[Mapping[str, tuple[str, str]]] = {
    "connected": ("Setup check", "{here}/preflight"),
    "created": ("Connect to Amazon", "{here}#connect"),
    "session_ended": ("Audit", "/console/audit?kind=session"),
    "paused": ("Waiting events", "{here}/events?status=held"),
    "resumed": ("Events", "{here}/events"),
    "pause_ended": ("Waiting events", "{here}/events?status=held"),
    "disconnected": ("Connect again", "{here}"),
    "deleted": ("Deleted destinations", "/console?health=deleted"),
    "settings_saved": ("Overview", "{here}"),
    "currency_changed": ("Settings", "{here}/settings"),
    "check_confirmed": ("Overview", "{here}"),
    "check_withdrawn": ("Overview", "{here}"),
    "key_revoked": ("Audit entry", "/console/audit?action=key.revoked"),
    "mapping_created": ("All mappings", "{here}/mappings"),
    "draft_saved": ("Review and publish", "{mapping}/publish"),
    "match_key_added": ("Review and publish", "{mapping}/publish"),
    "shadow_started": ("Its counts", "{here}/match-quality"),
    "shadow_ended": ("Its counts", "{here}/match-quality"),
    "mapping_copied": ("Review and publish", "{mapping}/publish"),
    "destination_copied": ("Connect to Amazon", "{here}#connect"),
    "mapping_deleted": ("Events", "{here}/events"),
    "published": ("Activate", "{here}/activate"),
    "rolled_back": ("Events", "{here}/events"),
    "name_changed": ("Review and publish", "{mapping}/publish"),
    "renamed": ("Event names", "/console/event-names"),
    "test_sent": ("Activate", "{here}/activate"),
    "replayed": ("Events", "{here}/events"),
    "dismissed": ("Failed events", "{here}/events?status=dead"),
    "event_renamed": ("Audit entry", "/console/audit?action=event_name.renamed"),
    "event_name_kept": ("Event names", "/console/event-names"),
    "acknowledged": ("All incidents", "/console/incidents"),
    "incident_muted": ("All incidents", "/console/incidents"),
    "incident_unmuted": ("All incidents", "/console/incidents"),
    "notifications_saved": ("Channels", "/console/notifications"),
    "thresholds_saved": ("Incidents", "/console/incidents"),
    "maintenance_started": ("Incidents", "/console/incidents"),
    "maintenance_ended": ("Incidents", "/console/incidents"),
    "callback_on": ("Overview", "{here}"),
    "callback_off": ("Overview", "{here}"),
    "erasure_requested": ("All erasures", "/console/privacy#erasures"),
    "organisation_created": ("All organisations", "/console/organisations"),
    "organisation_changed": ("All organisations", "/console/organisations"),
    "organisation_suspended": ("All organisations", "/console/organisations"),
    "organisation_resumed": ("All organisations", "/console/organisations"),
    "organisation_switched": ("Organisations", "/console/organisations"),
}
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


def confirmation_of(request: Request) -> ActionConfirmation | None:
    """Return the confirmation of the previous action, or None if there was no action."""
    word, _, number = request.cookies.get(_COOKIE, "").partition(".")
    sentence = SENTENCES.get(word)
    if sentence is None:
        return None
    if "{" in sentence:
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        count = int(number)
        mappings = f"{number} mapping{'' if count == 1 else 's'}"
        sentence = sentence.format(number=number, events=events(count), mappings=mappings)
    label, link = LINKS.get(word, (None, ""))
    place = _PLACE.match(request.url.path)
    if place is None and "{" in link:
        return ActionConfirmation(sentence)
    if place is not None:
        link = link.format(here=place[1], mapping=place[0] if place[2] else place[1] + "/mappings")
    return ActionConfirmation(sentence, label, link)


def forget(context: AppContext, response: Response) -> None:
    """Remove the cookie, so that the sentence is shown once."""
    response.delete_cookie(_COOKIE, path="/console", secure=is_secure(context), httponly=True, samesite="lax")
