"""The failure codes of the journey engine, and the reasons that each code stands for (`reasons.toml`)."""

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
