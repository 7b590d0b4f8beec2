"""The consent check: whether an event may be sent, and with which consent signal.

Source: position P7. Consent is required if the destination's region is EU or if the event's country requires
it. A denial stops the event in every region. A mapping uses one consent framework.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.domain.conversion import tcf
from app.domain.destination import Region
from app.domain.mapping.reading import UNCLEAR, Invented, Reading, SourceFailed
from app.domain.mapping.sources import Source

EUROPEAN_UNION: Final[frozenset[str]] = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)

# Regions of EU members that have their own country code: Réunion, French Guiana, Guadeloupe, Martinique,
# Mayotte, Saint-Martin, Åland. EU law on personal data applies there (TFEU articles 349 and 355).
OUTERMOST_REGIONS: Final[frozenset[str]] = frozenset({"RE", "GF", "GP", "MQ", "YT", "MF", "AX"})

# Countries that require consent: the EEA, the outermost regions of the EU, the United Kingdom, Switzerland,
# and Amazon's code `OTHER_EEA`. Source: position P7 and product.md.
CONSENT_COUNTRIES: Final[frozenset[str]] = (
    EUROPEAN_UNION | OUTERMOST_REGIONS | {"IS", "LI", "NO", "GB", "CH", "OTHER_EEA"}
)

MAX_GPP_LENGTH: Final = 4096


class Mode(StrEnum):
    """How a mapping states consent: for all events, by one of three frameworks, or not (interface §4)."""

    GRANTED = "granted"
    AMAZON = "amazon"
    TCF = "tcf"
    GPP = "gpp"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """The consent part of a mapping. Mode `amazon` uses the first two sources, `tcf` and `gpp` the last."""

    mode: Mode
    user_data: Source | None = None
    ad_storage: Source | None = None
    string: Source | None = None


@dataclass(frozen=True, slots=True)
class ConsentSettings:
    """The vendor and purposes that a TCF string must consent to.

    The defaults are not confirmed by Amazon, so they can be changed by settings (P7).
    """

    tcf_vendor: int = 793
    tcf_purposes: frozenset[int] = frozenset({1, 7})


@dataclass(frozen=True, slots=True)
class ConsentBlocked:
    """Why an event must not be sent. `name` is a field of the mapping, and `source` is what it reads.

    If `source` is set, `sentence` completes "<field> is mapped to <path>, which …". Else it is a full
    sentence.
    """

    reason: str
    source: Source | None
    name: str
    sentence: str


Signal = Mapping[str, Any]  # the members of Amazon's `consent` object; empty if no consent is sent

GRANTED_PAIR: Final[Signal] = {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}}

# The words that Amazon's tag template accepts, in any case. A JSON boolean is not accepted: consent is never
# guessed.
_YES: Final = ("granted", "yes", "true", "1", "on", "enabled", "opted_in", "optin")
_NO: Final = ("denied", "no", "false", "0", "off", "disabled", "opted_out", "optout")
CONSENT_WORDS: Final[Mapping[str, str]] = {**dict.fromkeys(_YES, "GRANTED"), **dict.fromkeys(_NO, "DENIED")}

# `DB` encodes a header of type 3 and version 1. At least one section follows the header.
GPP: Final = re.compile(r"DB[A-Za-z0-9_-]+(?:~[A-Za-z0-9_.-]+)+", re.ASCII)


def evidence(mode: Mode, signal: Signal) -> str | None:
    """Return the stored evidence of an event's consent: the two words, or a hash of the consent string.

    Returns None if the event itself states no consent.
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


def decision(mode: Mode, stored_signal: str | None) -> str:
    """Return why an event passed the consent check: `granted`, `passed_on` or `not_required`.

    `stored_signal` is the result of `evidence`. A GPP string is `passed_on`, because only its format is
    checked (P7).
    """
    if mode is Mode.GRANTED:
        return "granted"
    if stored_signal is None:
        return "not_required"
    return "passed_on" if mode is Mode.GPP else "granted"


def is_required(region: Region, country: str) -> bool:
    """Return whether an event may only be sent with the person's consent."""
    return region is Region.EU or country in CONSENT_COUNTRIES


def evaluate_consent(
    rule: ConsentRule, content: dict[str, Any], reading: Reading, *, required: bool, settings: ConsentSettings
) -> Signal | ConsentBlocked:
    """Return the consent signal of an event, or the reason why it must not be sent."""
    match rule.mode:
        case Mode.GRANTED:
            return GRANTED_PAIR
        case Mode.AMAZON:
            return _amazon(rule, content, reading, required=required)
        case Mode.TCF | Mode.GPP:
            return _string(rule, content, reading, required=required, settings=settings)
        case Mode.NONE:
            if required:
                why = "Region or country requires consent, and the mapping's consent mode is none."
                return ConsentBlocked("consent_missing", None, "consent", why)
            return {}


def _amazon(
    rule: ConsentRule, content: dict[str, Any], reading: Reading, *, required: bool
) -> Signal | ConsentBlocked:
    source = rule.user_data
    user_data = source.read(content, reading, check_word) if source else None
    ad_storage = rule.ad_storage.read(content, reading, check_word) if rule.ad_storage else None
    if isinstance(user_data, SourceFailed):
        return _invalid(user_data, source, "consent.user_data", "is not a consent value")
    if user_data == "DENIED":
        return ConsentBlocked("consent_denied", source, "consent.user_data", "denies the use of user data")
    if isinstance(ad_storage, SourceFailed):
        return _invalid(ad_storage, rule.ad_storage, "consent.ad_storage", "is not a consent value")
    if user_data is None:
        if required:
            return ConsentBlocked("consent_missing", source, "consent.user_data", "is absent")
        return {}  # ad storage alone is not enough: Amazon's pair requires user data
    pair = {"amznUserData": user_data}
    if ad_storage is not None:
        pair["amznAdStorage"] = ad_storage
    return {"amazonConsent": pair}


def _invalid(failed: SourceFailed, source: Source | None, name: str, sentence: str) -> ConsentBlocked:
    return ConsentBlocked("unclear" if failed is UNCLEAR else "consent_invalid", source, name, sentence)


def check_word(value: Any) -> str | SourceFailed:
    """Return the consent that a value of Amazon's pair states: `GRANTED` or `DENIED`."""
    if isinstance(value, Invented):
        return UNCLEAR
    word = CONSENT_WORDS.get(value.strip().lower()) if type(value) is str else None
    return word or SourceFailed("consent_invalid", "is not a consent value")


def _string(
    rule: ConsentRule, content: dict[str, Any], reading: Reading, *, required: bool, settings: ConsentSettings
) -> Signal | ConsentBlocked:
    source, is_gpp = rule.string, rule.mode is Mode.GPP

    def grants(text: str) -> bool | None:
        return tcf.consents(text, vendor=settings.tcf_vendor, purposes=settings.tcf_purposes)

    def check(value: Any) -> str | SourceFailed:
        if isinstance(value, Invented):
            return UNCLEAR
        text = value.strip() if type(value) is str else ""
        if is_gpp:
            is_valid = len(text) <= MAX_GPP_LENGTH and GPP.fullmatch(text) is not None
        else:
            is_valid = grants(text) is not None
        return text if is_valid else SourceFailed("consent_invalid", "is not a consent string")

    text = source.read(content, reading, check) if source else None
    if text is None:
        return ConsentBlocked("consent_missing", source, "consent.string", "is absent") if required else {}
    if isinstance(text, SourceFailed):
        form = "GPP" if is_gpp else "TCF v2"
        return _invalid(text, source, "consent.string", f"is not a {form} string")
    if not is_gpp and not grants(text):
        sentence = "does not grant Amazon consent for the required purposes"
        return ConsentBlocked("consent_denied", source, "consent.string", sentence)
    return {rule.mode.value: text}
