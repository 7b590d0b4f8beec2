"""Find the consent that events carry. Without any, the mapping says `granted`, which has to be confirmed."""

import re
from collections.abc import Sequence
from typing import Any, Final

from app.domain.conversion.consent import CONSENT_WORDS
from app.domain.observed.value_kinds import is_gpp, is_tcf
from app.domain.suggestions.names import WORDS, joined, key_by_word, rank, word_list
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written
from app.domain.suggestions.trial import Trial

CONFIRM_ALL: Final = "confirm_that_all_consented"
CONFIRM_SOURCE: Final = "confirm_meaning_of_consent"

_USER_DATA: Final = word_list("user_data")
_AD_STORAGE: Final = word_list("ad_storage")
_DIGITS_OF_IDS: Final = 6
_MOST_GROUPS: Final = 100  # different texts
_CONSENT_PARTS: Final = ("optin", "acceptsmarketing", "marketingaccepted", "einwilligung")  # of all names
_GROUP_SIGNS: Final = re.compile("[,;|]")
_GROUP: Final = re.compile(r"[\w:.-]{0,40}")  # one word, so that no text about a person is in a mapping
_LONGEST_GROUPS: Final = 500  # characters
_ANSWERS: Final = key_by_word("answers")


def find_consent(found: ObservedPaths, trial: Trial) -> FieldFinding:
    """Return the member `consent` of the mapping document."""
    for mode, is_string in (("tcf", is_tcf), ("gpp", is_gpp)):
        for each in found.values:
            if each.texts and sum(is_string(text.strip()) for text in each.texts) * 2 > len(each.texts):
                member = {"mode": mode, "string": each.source}
                undecided = (CONFIRM_SOURCE,) if None in each.values else ()
                return FieldFinding(member, f"Its values are {mode.upper()} strings.", undecided)
    about = [each for each in found.values if _is_about_consent(each)]
    answers = [each for each in about if not _is_refusal(each) and all(map(_word, each.found))]
    if not answers:
        unread = sorted(filter(_may_be_consent, about), key=_is_refusal)
        if not unread:
            return FieldFinding({"mode": "granted"}, "The events carry no consent.", (CONFIRM_ALL,))
        source = _groups(unread[0], trial)
        reason = f"Named {unread[0].label}; its lists with a group for advertising grant consent."
        if source is None:
            # No event passes until a person says what the values mean: `granted` would send the events of
            # people who refused.
            source, reason = unread[0].source, f"Named {unread[0].label}; its values are no known answers."
        member = {"mode": "amazon", "user_data": source, "ad_storage": source}
        return FieldFinding(member, reason, (CONFIRM_SOURCE,))
    user_data = _named(answers, _USER_DATA) or answers[0]
    ad_storage = _named([each for each in answers if each is not user_data], _AD_STORAGE)
    member = {"mode": "amazon", "user_data": _worded(user_data)}
    member["ad_storage"] = _worded(ad_storage or user_data)
    exact = ad_storage and None not in user_data.values and joined(user_data.names[-1]).endswith("userdata")
    reason = f"Named {user_data.label}; its values grant or deny consent."
    return FieldFinding(member, reason, () if exact else (CONFIRM_SOURCE,))


def find_limited_data_use(found: ObservedPaths) -> FieldFinding | None:
    """Return the source of the flag that asks Amazon not to use the event."""
    for each in found.values:
        if rank("limited_data_use", each.names) > 45 and {type(value) for value in each.found} == {bool}:
            return FieldFinding(each.source, f"Named {each.label}; its values are booleans.")
    return None


def _is_about_consent(each: ObservedPath) -> bool:
    name = "".join(map(joined, each.names))
    is_fact = each.words & WORDS["about_consent"]
    purpose = each.words & WORDS["privacy"] and each.words & WORDS["user_data"] and not is_fact
    about = purpose or each.words & WORDS["consent"] or any(part in name for part in _CONSENT_PARTS)
    return bool(about and not each.words & WORDS["other_purpose"] and each.found)


def _is_refusal(each: ObservedPath) -> bool:
    """Return whether a path says who refused, or what was refused: `opt_out`, `purposes.disabled`."""
    return bool(each.words & WORDS["refusals"])


def _groups(each: ObservedPath, trial: Trial) -> Written | None:
    """Return a source that grants consent for the observed lists with a group for advertising.

    None if the path holds no lists of groups to which a person agreed: one group may be what is asked for.
    """
    source, is_list = each.source, each.path.endswith("[0]")
    if is_list:
        source = {"path": each.path.removesuffix("[0]"), "pipe": [["join", ","]]}
    texts = dict.fromkeys(text for text in trial.values(source) if type(text) is str)
    if _is_refusal(each) or not (is_list or any(map(_GROUP_SIGNS.search, texts))):
        return None
    granted = []
    for text in texts:
        groups = [part.strip() for part in _GROUP_SIGNS.split(text.lower())]
        are_words = len(text) <= _LONGEST_GROUPS and all(map(_GROUP.fullmatch, groups))
        if are_words and WORDS["advertising_groups"].intersection(groups):
            granted.append(text)
    table = {**dict.fromkeys(granted[:_MOST_GROUPS], "GRANTED"), "*": "DENIED"}
    return {**source, "pipe": [*source.get("pipe", ()), ["map", table]]} if granted else None


def _may_be_consent(each: ObservedPath) -> bool:
    """Return whether the values of a path named like consent are no times, ids or versions of texts."""
    parts = (part for value in each.found for part in _GROUP_SIGNS.split(str(value)))
    digits = max(sum(map(str.isdigit, part)) for part in parts)
    return not each.words & WORDS["about_consent"] and digits < _DIGITS_OF_IDS


def _word(value: Any) -> str | None:
    """Return the consent word of an answer; None if it is none."""
    if type(value) in (bool, int):
        return "DENIED" if value == 0 else "GRANTED" if value == 1 else None
    word = value.strip().lower() if type(value) is str else ""
    return CONSENT_WORDS.get(word) or _ANSWERS.get(word)


def _named(answers: Sequence[ObservedPath], names: Sequence[str]) -> ObservedPath | None:
    pairs = ((name, each) for name in names for each in answers)
    return next((each for name, each in pairs if _is_named(each, name)), None)


def _is_named(each: ObservedPath, name: str) -> bool:
    names = [joined(part) for part in each.names]
    return name in "".join(names[-2:]) or name in names[-3:-2]


def _worded(each: ObservedPath) -> Written:
    """Add the pipe that turns booleans and other words into consent words."""
    texts = each.texts
    steps: list[Any] = [] if len(texts) == len(each.found) else ["to_string"]  # `true` and `1` are words
    if not all(text.strip().lower() in CONSENT_WORDS for text in texts):
        steps += ["trim", "lower", ["map", dict(_ANSWERS)]]
    return each.piped(*steps)
