"""Find the consent that events carry. Without any, the mapping says `granted`, which has to be confirmed."""

import re
from collections.abc import Sequence
from typing import Any, Final

from app.domain.conversion.consent import CONSENT_WORDS
from app.domain.identity.placeholders import NOTHING_WORDS
from app.domain.mapping.sources import MAX_MEMBERS
from app.domain.observed.value_kinds import is_gpp, is_tcf
from app.domain.suggestions.names import WORDS, joined, key_by_word, rank, table, word_list, words_in
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written
from app.domain.suggestions.trial import Trial, one_of

CONFIRM_ALL: Final = "confirm_that_all_consented"
CONFIRM_SOURCE: Final = "confirm_meaning_of_consent"

_USER_DATA: Final = word_list("user_data")
_AD_STORAGE: Final = word_list("ad_storage")
_DIGITS_OF_IDS: Final = 6
_MOST_GROUPS: Final = 100  # different texts
_PARTS: Final = {name: tuple(map(joined, words)) for name, words in table("parts_of_names").items()}
_GROUP_SIGNS: Final = re.compile("[,;|]")
_GROUP: Final = re.compile(r"[\w:.-]{0,40}")  # one word, so that no text about a person is in a mapping
_LONGEST_GROUPS: Final = 500  # characters
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NOTHING: Final = sorted({word.lower() for word in NOTHING_WORDS})
_ANSWERS: Final = key_by_word("answers")


def find_consent(found: ObservedPaths, trial: Trial) -> FieldFinding:
    """Return the member `consent` of the mapping document."""
    for mode, is_string in (("tcf", is_tcf), ("gpp", is_gpp)):
        for each in found.values:
            if each.texts and sum(is_string(text.strip()) for text in each.texts) * 2 > len(each.texts):
                member = {"mode": mode, "string": each.source}
                undecided = (CONFIRM_SOURCE,) if None in each.values else ()
                return FieldFinding(member, f"Its values are {mode.upper()} strings.", undecided)
    about = [each for each in (*found.values, *found.blank) if _is_about_consent(each)]
    clear = [each for each in about if _has_clear_name(each) and not _is_first_of_list(each)]
    answers = [each for each in clear if each.found and all(map(_word, each.found))]
    if not answers:
        unread = sorted(filter(_may_be_consent, about), key=_is_unclear)
        if not unread:
            return FieldFinding({"mode": "granted"}, "The events carry no consent.", (CONFIRM_ALL,))
        source = _groups(unread[0], trial)
        says = "lists with a group for advertising grant consent" if source else "values are no known answers"
        # No event passes until a person says what the values mean: `granted` would send the events of people
        # who refused.
        source = source or _until_known(unread[0])
        if _has_clear_name(unread[0]):
            source = _unless_refused(source, about)
        member = {"mode": "amazon", "user_data": source, "ad_storage": source}
        return FieldFinding(member, f"Named {unread[0].label}; its {says}.", (CONFIRM_SOURCE,))
    # `consent: false` counts more than `marketing_source: true`.
    own = [each for each in answers if each.words & WORDS["privacy"] or _says(each.names, "consent")]
    named = _named(own, _USER_DATA)
    user_data = named or answers[0]
    ad_storage = _named([each for each in answers if each is not user_data], _AD_STORAGE)
    answer = _unless_refused(_worded(user_data), about, [] if named else answers[1:])
    storage = _worded(ad_storage) if ad_storage else answer
    member = {"mode": "amazon", "user_data": answer, "ad_storage": storage}
    exact = ad_storage and None not in user_data.values and joined(user_data.names[-1]).endswith("userdata")
    reason = f"Named {user_data.label}; its values grant or deny consent."
    return FieldFinding(member, reason, () if exact else (CONFIRM_SOURCE,))


def find_limited_data_use(found: ObservedPaths) -> FieldFinding | None:
    """Return the source of the flag that asks Amazon not to use the event."""
    flag = next(filter(_is_flag, found.values), None)
    return FieldFinding(flag.source, f"Named {flag.label}; its values are booleans.") if flag else None


def _is_flag(each: ObservedPath) -> bool:
    is_boolean = all(type(value) is bool for value in each.found)
    return is_boolean and rank("limited_data_use", each.names) > 45


def _says(names: Sequence[str], what: str) -> bool:
    """Return whether names have a word of a list, or one of the parts of words in a table of them."""
    whole = "".join(map(joined, names))
    return bool(words_in(names) & WORDS[what]) or any(part in whole for part in _PARTS[what])


def _is_about_consent(each: ObservedPath) -> bool:
    if each.words & WORDS["other_purpose"] or _is_flag(each):
        return False
    is_named = joined(each.names[-1]) in _USER_DATA  # `marketing: 0`
    is_answered = each.found and all(_is_answer(one) or (is_named and _word(one)) for one in each.found)
    is_private, is_refusal = each.words & WORDS["privacy"], _is_refusal(each)
    is_answer = is_answered or is_private or is_refusal or each.words & WORDS["agreed"]
    is_fact = each.words & (WORDS["about_consent"] | WORDS["facts_of_marketing"])
    is_purpose = is_answer and _says(each.names, "purposes") and not is_fact
    texts = [text.strip().lower() for text in each.texts]
    groups = [*each.found, *(part for text in texts for part in _GROUP_SIGNS.split(text))]
    are_groups = is_private and not (WORDS["other_groups"] | WORDS["advertising_groups"]).isdisjoint(groups)
    answers_itself = are_groups or (bool(texts) and WORDS["certain_answers"].issuperset(texts))
    is_objection = is_answered and is_private and is_refusal
    return bool(is_purpose or is_objection) or answers_itself or _says(each.names, "consent")


def _is_refusal(each: ObservedPath) -> bool:
    """Return whether a path says who refused, or what was refused: `opt_out`, `purposes.disabled`."""
    return _says(each.names, "refusals")


def _has_clear_name(each: ObservedPath) -> bool:
    """Return whether `true` grants consent: neither `consent.revoked` nor a name that says nothing known."""
    own = each.names[-1:]
    says = joined(own[0]) in _USER_DATA or _says(own, "consent") or _says(own, "purposes")
    is_fact = words_in(own) & WORDS["facts"]
    return bool(says or words_in(own) & WORDS["states_of_consent"]) and not is_fact and not _is_refusal(each)


def _is_first_of_list(each: ObservedPath) -> bool:
    """Return whether a path reads one member of a list, of which another may be the answer."""
    return each.in_list and not each.has_step("where")


def _is_unclear(each: ObservedPath) -> int:
    """Return a number that is higher the less a path says: a time comes after other values."""
    return 2 * (not _has_clear_name(each)) + _is_moment(each)


def _unless_refused(
    source: Written, about: Sequence[ObservedPath], others: Sequence[ObservedPath] = ()
) -> Written:
    """Return a source that first asks the paths that say who refused, and other answers, which may matter."""
    refusals = [_denied(each, "DENIED") for each in about if _says_who_refused(each)]
    first = [*refusals, *(_denied(each, "GRANTED") for each in others)][: MAX_MEMBERS - 1]
    outer = {key: source[key] for key in ("default",) if first and key in source}
    return one_of([*first, {key: part for key, part in source.items() if key not in outer}]) | outer


def _says_who_refused(each: ObservedPath) -> bool:
    is_read = all(map(_word, each.found)) or _is_moment(each)
    return is_read and _is_refusal(each) and not _is_first_of_list(each)


def _denied(each: ObservedPath, passing: str) -> Written:
    """Return a source that gives no value for answers of one word, and denies consent for all others."""
    usual = {"DENIED": ["false", "0", "no", "n"], "GRANTED": ["true", "1", "yes", "y"]}[passing]
    words = [str(value).strip().lower() for value in each.found if _word(value) == passing]
    seen = [word for word in words if not any(part in joined(word) for part in _PARTS["refusals"])]
    table = dict.fromkeys([*usual, *seen, *_NOTHING]) | {"*": "DENIED"}
    return each.piped("to_string", "trim", "lower", ["map", table])


def _until_known(each: ObservedPath) -> Written:
    """Return a source that grants no consent: of names that may mean a refusal, every answer is one.

    A time at which a person agreed is an answer.
    """
    if not _has_clear_name(each) or _is_first_of_list(each):
        return each.piped(["map", {"*": "DENIED"}]) | ({} if _is_refusal(each) else {"default": "DENIED"})
    agreed = {**each.piped(["map", {"*": "GRANTED"}]), "default": "DENIED"}
    return agreed if _is_moment(each) else each.source


def _is_moment(each: ObservedPath) -> bool:
    """Return whether a path says when a person agreed or refused: `opted_out_at`, but not `consent.at`."""
    own, refused = words_in(each.names[-1:]), _says(each.names[-1:], "refusals")
    is_dated = own & WORDS["moments"] or (refused and each.has_only(_DATE.match))
    return bool(is_dated and (own & WORDS["agreed"] or refused))


def _groups(each: ObservedPath, trial: Trial) -> Written | None:
    """Return a source that grants consent for the observed lists with a group for advertising.

    None if the path holds no lists of groups to which a person agreed: one group may be what is asked for.
    """
    source, is_list = each.source, each.path.endswith("[0]")
    if is_list:
        source = {"path": each.path.removesuffix("[0]"), "pipe": [["join", ","]]}
    texts = dict.fromkeys(text for text in trial.values(source) if type(text) is str)
    is_fact = words_in(each.names) & WORDS["facts"]
    if is_fact or _is_refusal(each) or not (is_list or any(map(_GROUP_SIGNS.search, texts))):
        return None
    granted = []
    for text in texts:
        groups = [part.strip() for part in _GROUP_SIGNS.split(text.lower())]
        are_words = len(text) <= _LONGEST_GROUPS and all(map(_GROUP.fullmatch, groups))
        if are_words and WORDS["advertising_groups"].intersection(groups):
            granted.append(text)
    table = {**dict.fromkeys(granted[:_MOST_GROUPS], "GRANTED"), "*": "DENIED"}
    pipe = [*source.get("pipe", ()), ["map", table]]
    return {**source, "pipe": pipe, "default": "DENIED"} if granted else None


def _may_be_consent(each: ObservedPath) -> bool:
    """Return whether the values of a path named like consent are no ids or versions of texts."""
    parts = (part for value in each.found for part in _GROUP_SIGNS.split(str(value)))
    digits = max((sum(map(str.isdigit, part)) for part in parts if {*part} - {*"01"}), default=0)
    return _is_moment(each) or (not each.words & WORDS["about_consent"] and digits < _DIGITS_OF_IDS)


def _word(value: Any) -> str | None:
    """Return the consent word of an answer; None if it is none."""
    if type(value) in (bool, int):
        return "DENIED" if value == 0 else "GRANTED" if value == 1 else None
    word = value.strip().lower() if type(value) is str else ""
    return CONSENT_WORDS.get(word) or _ANSWERS.get(word)


def _is_answer(value: Any) -> bool:
    """Return whether a value alone answers: no number, and no text of several letters but known words."""
    first = re.split(r"[\s,.;!]", value.strip())[0] if type(value) is str else value  # `No, gracias`
    return type(value) is not int and bool(_word(first) or _word(value) or len(str(value)) == 1)


def _named(answers: Sequence[ObservedPath], names: Sequence[str]) -> ObservedPath | None:
    return next((each for name in names for each in answers if _is_named(each, name)), None)


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
