"""Find the consent that events carry. Without any, the mapping says `granted`, which has to be confirmed."""

from collections.abc import Sequence
from typing import Final

from app.domain.conversion import tcf
from app.domain.conversion.consent import CONSENT_WORDS, GPP
from app.domain.suggestions.names import rank, word_set, words_of
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written

CONFIRM_ALL: Final = "confirm_that_all_consented"
CONFIRM_SOURCE: Final = "confirm_meaning_of_consent"

_CONSENT: Final = word_set(
    """
    consent consents consented consentement consentimiento consenso consentimento einwilligung
    zustimmung einverstaendnis toestemming samtycke zgoda optin opted permission permissions adstorage
    storage personalization amzn
    """
)
_USER_DATA: Final = (
    "userdata",
    "aduserdata",
    "amznuserdata",
    "personalization",
    "adpersonalization",
    "ads",
    "advertising",
    "marketing",
)
_AD_STORAGE: Final = ("adstorage", "amznadstorage", "storage")
# A consent to mail or to analysis says nothing about advertising.
_OTHER_PURPOSE: Final = word_set(
    """
    newsletter email mail sms push phone call analytics analyticsstorage functional essential necessary
    functionality security terms agb
    """
)
# How other tools write an answer, beside the words that a mapping reads.
_ANSWERS: Final = {
    "y": "GRANTED",
    "n": "DENIED",
    "in": "GRANTED",
    "out": "DENIED",
    "allow": "GRANTED",
    "deny": "DENIED",
    "allowed": "GRANTED",
    "accepted": "GRANTED",
    "rejected": "DENIED",
    "declined": "DENIED",
    "ja": "GRANTED",
    "nein": "DENIED",
    "oui": "GRANTED",
    "non": "DENIED",
    "si": "GRANTED",
}


def find_consent(found: ObservedPaths) -> FieldFinding:
    """Return the member `consent` of the mapping document."""
    for mode, is_string in (("tcf", _is_tcf), ("gpp", _is_gpp)):
        for each in found.values:
            texts = [value for value in each.found if type(value) is str]
            if texts and sum(map(is_string, texts)) * 2 > len(texts):
                return FieldFinding(
                    {"mode": mode, "string": each.source}, f"Its values are {mode.upper()} strings."
                )
    answers = [each for each in found.values if _is_answer(each)]
    if not answers:
        return FieldFinding({"mode": "granted"}, "The events carry no consent.", (CONFIRM_ALL,))
    user_data = _named(answers, _USER_DATA) or answers[0]
    ad_storage = _named([each for each in answers if each is not user_data], _AD_STORAGE)
    member = {"mode": "amazon", "user_data": _worded(user_data)}
    member["ad_storage"] = _worded(ad_storage or user_data)
    exact = ad_storage is not None and _joined(user_data).endswith("userdata")
    reason = f"Named {user_data.label}; its values grant or deny consent."
    return FieldFinding(member, reason, () if exact else (CONFIRM_SOURCE,))


def find_limited_data_use(found: ObservedPaths) -> FieldFinding | None:
    """Return the source of the flag that asks Amazon not to use the event."""
    for each in found.values:
        if rank("limited_data_use", each.names) > 45 and {type(value) for value in each.found} == {bool}:
            return FieldFinding(each.source, f"Named {each.label}; its values are booleans.")
    return None


def _is_tcf(text: str) -> bool:
    word = text.strip()
    return len(word) >= 39 and word[0] == "C" and tcf.consents(word, vendor=1, purposes=()) is not None


def _is_gpp(text: str) -> bool:
    return text.strip().startswith("DB") and GPP.fullmatch(text.strip()) is not None


def _joined(each: ObservedPath) -> str:
    return "".join(words_of(each.names[-1]))


def _is_answer(each: ObservedPath) -> bool:
    words = [word for name in each.names for word in words_of(name)]
    joined = "".join(words)
    about = (
        set(words) & _CONSENT
        or "optin" in joined
        or "acceptsmarketing" in joined
        or "marketingaccepted" in joined
    )
    if not about or set(words) & _OTHER_PURPOSE or not each.found:
        return False
    return all(
        type(value) is bool or (type(value) is str and _word(value) is not None) for value in each.found
    )


def _word(text: str) -> str | None:
    word = text.strip().lower()
    return CONSENT_WORDS.get(word) or _ANSWERS.get(word)


def _named(answers: Sequence[ObservedPath], names: Sequence[str]) -> ObservedPath | None:
    for name in names:
        for each in answers:
            if _joined(each) == name or name in "".join("".join(words_of(n)) for n in each.names[-2:]):
                return each
    return None


def _worded(each: ObservedPath) -> Written:
    """Add the pipe that turns booleans and other words into consent words."""
    if all(type(value) is str and value.strip().lower() in CONSENT_WORDS for value in each.found):
        return each.source
    booleans = any(type(value) is bool for value in each.found)
    table = {"true": "GRANTED", "false": "DENIED"} if booleans else dict(_ANSWERS)
    steps = ["to_string"] if booleans else ["trim", "lower"]
    return {**each.source, "pipe": [*each.source.get("pipe", []), *steps, ["map", table]]}
