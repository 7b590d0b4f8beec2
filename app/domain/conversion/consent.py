"""The consent gate: whether an event may leave, and the consent signal it carries.

Source: position P7. Consent is needed where the destination's region is EU or the event's country asks for
it. A no is final everywhere. One framework per mapping; an IP address goes beside the signal and never counts
as one.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.domain.conversion import tcf
from app.domain.conversion.countries import CONSENT_COUNTRIES
from app.domain.destination import Region
from app.domain.mapping.sources import Source

MAX_GPP_LENGTH: Final = 4096


class Mode(StrEnum):
    """The ways a mapping can speak of consent (interface §4)."""

    GRANTED = "granted"
    AMAZON = "amazon"
    TCF = "tcf"
    GPP = "gpp"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """A mapping's compiled consent: the mode and the sources it reads, by their names in the document."""

    mode: Mode
    user_data: Source | None = None
    ad_storage: Source | None = None
    string: Source | None = None


@dataclass(frozen=True, slots=True)
class ConsentSettings:
    """Whom and what for a TCF string must give consent. Unverified with Amazon, so adjustable (P7)."""

    tcf_vendor: int = 793
    tcf_purposes: frozenset[int] = frozenset({1, 7})


@dataclass(frozen=True, slots=True)
class ConsentBlocked:
    """The event must not leave: a reason word, the source that decided, and a sentence about it.

    Where no source decided, the sentence stands by itself.
    """

    reason: str
    source: Source | None
    name: str
    sentence: str


Signal = dict[str, Any]  # the members of Amazon's `consent` object; empty where none is sent

GRANTED_PAIR: Final[Mapping[str, Any]] = {
    "amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}
}

# The words Amazon's own tag template reads, in any case of letters. A JSON boolean is none: consent is never
# guessed.
_YES: Final = ("granted", "yes", "true", "1", "on", "enabled", "opted_in", "optin")
_NO: Final = ("denied", "no", "false", "0", "off", "disabled", "opted_out", "optout")
CONSENT_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_YES, "GRANTED"),
    **dict.fromkeys(_NO, "DENIED"),
}

# A header of type 3 and version 1, which base64url writes as `DB`, and one section at least.
GPP: Final = re.compile(r"DB[A-Za-z0-9_-]+(?:~[A-Za-z0-9_.-]+)+", re.ASCII)


def evidence(mode: Mode, signal: Signal) -> str | None:
    """Return what is kept of an event's own consent: the pair it gave, or the SHA-256 of its string.

    None where the event said nothing itself: the mapping did, or none was needed.
    """
    match mode:
        case Mode.GRANTED | Mode.NONE:
            return None
        case Mode.AMAZON:
            pair = signal.get("amazonConsent")
            return pair and f"{pair['amznUserData']}/{pair.get('amznAdStorage', '-')}"
        case Mode.TCF | Mode.GPP:
            text = signal.get(mode.value)
            return text and f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def decision(mode: Mode, kept: str | None) -> str:
    """Return the gate's decision on an event that it let through.

    `granted`; `passed_on` for a GPP string, whose form alone is checked (P7); `not_required` where the event
    said nothing and region and country ask for nothing.
    """
    if mode is Mode.GRANTED:
        return "granted"
    if kept is None:
        return "not_required"
    return "passed_on" if mode is Mode.GPP else "granted"


def is_required(region: Region, country: str) -> bool:
    """Tell whether an event needs the person's consent before it may leave."""
    return region is Region.EU or country in CONSENT_COUNTRIES


def evaluate_consent(
    rule: ConsentRule, event: dict[str, Any], *, required: bool, settings: ConsentSettings
) -> Signal | ConsentBlocked:
    """Give the consent signal of an event, or say why the event must stay."""
    match rule.mode:
        case Mode.GRANTED:
            return dict(GRANTED_PAIR)
        case Mode.AMAZON:
            return _amazon(rule, event, required=required)
        case Mode.TCF | Mode.GPP:
            return _string(rule, event, required=required, settings=settings)
        case Mode.NONE:
            if required:
                why = "Region or country requires consent, and the mapping's consent mode is none."
                return ConsentBlocked("consent_missing", None, "consent", why)
            return {}


def _amazon(rule: ConsentRule, event: dict[str, Any], *, required: bool) -> Signal | ConsentBlocked:
    user_data = _status(rule.user_data, event)
    ad_storage = _status(rule.ad_storage, event)
    if user_data is _UNREADABLE:
        return ConsentBlocked("consent_invalid", rule.user_data, "consent.user_data", "is no consent word")
    if user_data == "DENIED":
        return ConsentBlocked(
            "consent_denied", rule.user_data, "consent.user_data", "denies the use of user data"
        )
    if ad_storage is _UNREADABLE:
        return ConsentBlocked("consent_invalid", rule.ad_storage, "consent.ad_storage", "is no consent word")
    if user_data is None:
        if required:
            return ConsentBlocked("consent_missing", rule.user_data, "consent.user_data", "is absent")
        return {}  # ad storage alone says nothing: Amazon's pair requires user data
    pair = {"amznUserData": user_data}
    if ad_storage is not None:
        pair["amznAdStorage"] = ad_storage
    return {"amazonConsent": pair}


_UNREADABLE: Final = "UNREADABLE"


def _status(source: Source | None, event: dict[str, Any]) -> str | None:
    value = source.read(event) if source else None
    if value is None:
        return None
    return CONSENT_WORDS.get(value.strip().lower(), _UNREADABLE) if type(value) is str else _UNREADABLE


def _string(
    rule: ConsentRule, event: dict[str, Any], *, required: bool, settings: ConsentSettings
) -> Signal | ConsentBlocked:
    source = rule.string
    value = source.read(event) if source else None
    if value is None:
        return ConsentBlocked("consent_missing", source, "consent.string", "is absent") if required else {}
    text = value.strip() if type(value) is str else None
    if rule.mode is Mode.GPP:
        if text is None or len(text) > MAX_GPP_LENGTH or not GPP.fullmatch(text):
            return ConsentBlocked("consent_invalid", source, "consent.string", "is no GPP string")
        return {"gpp": text}
    given = None
    if text is not None:
        given = tcf.consents(text, vendor=settings.tcf_vendor, purposes=settings.tcf_purposes)
    if given is None:
        return ConsentBlocked("consent_invalid", source, "consent.string", "is no TCF string of version 2")
    if not given:
        return ConsentBlocked(
            "consent_denied", source, "consent.string", "gives Amazon no consent for the purposes"
        )
    return {"tcf": text}
