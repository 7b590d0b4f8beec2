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
from app.domain.toml_files import read_toml

_COOKIE: Final = "console_done"

SENTENCES: Final[Mapping[str, str]] = read_toml(__file__)

# The links to continue: label, address, and the sentences that have it. A sentence that is shown on the page
# where one continues has none. `{here}` stands for the page of the
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
    ("All erasures", "/console/privacy#erasures", "erasure_requested erasure_of_text_requested"),
    ("Destinations", "/console", "organisation_switched"),
)
LINKS: Final = {word: (label, address) for label, address, words in _TARGETS for word in words.split()}
_PLACE: Final = re.compile(r"(/console/destinations/dst_[0-9a-z]+)(/mappings/map_[0-9a-z]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ActionConfirmation:
    """What an action did, and a link to continue. `label` is None if there is no link."""

    sentence: str
    label: str | None
    link: str


def redirect(context: AppContext, address: str, done: str, number: int | None = None) -> RedirectResponse:
    """Redirect after an action; the next page shows what it did.

    `done` is a key of `SENTENCES`; `number` is the number in its sentence.
    """
    assert done in SENTENCES
    response = RedirectResponse(address, 303)
    value = done if number is None else f"{done}.{number}"
    set_cookie(context, response, _COOKIE, value, max_age=timedelta(minutes=1), path="/console")
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
    if place is not None:
        link = link.format(here=place[1], mapping=place[0] if place[2] else place[1] + "/mappings")
    leads_on = "{" not in link and link != request.url.path
    return ActionConfirmation(sentence, label if leads_on else None, link)


def forget(context: AppContext, response: Response) -> None:
    """Remove the cookie, so that the sentence is shown once."""
    delete_cookie(context, response, _COOKIE, path="/console")
