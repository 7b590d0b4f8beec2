"""The failure codes of the journey engine, and the reasons that each code stands for (`reasons.toml`).

The cause of a permanent failure is more exact than its reason: it follows from Amazon's code and message.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from typing_extensions import TypedDict

from app.domain.toml_files import read_toml


class JourneyCode(StrEnum):
    """The nine failure codes that the journey's canvas shows at a node."""

    CONSENT_NOT_PROVIDED = "CONSENT_NOT_PROVIDED"
    EVENT_PARSING_FAILED = "EVENT_PARSING_FAILED"
    BAD_REQUEST = "BAD_REQUEST"
    AUTHENTICATION_ERROR = "AUTHENTICATION_ERROR"
    RATE_LIMIT = "RATE_LIMIT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
    MISC_ERROR = "MISC_ERROR"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an event was not delivered, with the journey's code and a remedy for the operator.

    `detail` is the sentence of a stored rejection, with names and paths of the mapping. The response to the
    sender can contain more. The sentence must contain no text and no member name of an event, which can be
    personal data.
    """

    word: str
    code: JourneyCode
    remedy: str
    detail: str


_NOT_ACCEPTED: Final = "{field} has no value that Amazon accepts as {mapping_field}."
_FILE: Final = read_toml(__file__)


def _reasons(table: str) -> Mapping[str, Reason]:
    rows = {word: (*row, _NOT_ACCEPTED)[:3] for word, row in _FILE[table].items()}
    return {word: Reason(word, JourneyCode(code), *texts) for word, (code, *texts) in rows.items()}


INGEST_REASONS: Final = _reasons("ingest")
REASONS: Final[Mapping[str, Reason]] = {**INGEST_REASONS, **_reasons("delivery")}
WARNINGS: Final[Mapping[str, str]] = _FILE["warnings"]


class WarningView(TypedDict):
    """A warning that did not reject the event: a key of `WARNINGS`, such as `match_key_dropped`."""

    code: str
    field: str | None


def rejection_detail(reason: str, field: str | None, mapping_field: str | None) -> str:
    """Return the sentence of a stored rejection. Another release may have stored a reason unknown here."""
    sentence = REASONS[reason].detail if reason in REASONS else _NOT_ACCEPTED
    return sentence.format(field=field or "A field", mapping_field=mapping_field or "its destination field")


# --- Causes of permanent failures ------------------------------------------------------------------

# Amazon's message names the position of an event in the request, which differs between equal failures.
# Postgres must read the pattern in the same way, because `app/store/events/failures.py` groups by it.
POSITION_IN_REQUEST: Final = r"events\[[0-9]+\][.:]? *"


def failure_cause(code: str | None, message: str | None) -> str:
    """Return a short digest of a cause, so that a link can name it. Equal causes have the same digest."""
    text = re.sub(POSITION_IN_REQUEST, "", message or "")
    return hashlib.md5(f"{code or ''}\n{text}".encode(), usedforsecurity=False).hexdigest()[:12]


NO_ANSWER: Final = failure_cause(None, None)
"""The digest for events without a message from Amazon, such as expired events."""
