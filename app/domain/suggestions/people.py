"""Find the fields that identify a person, and the country. Values decide, not only names."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from app.domain.conversion.amazon_codes import COUNTRIES, read_country
from app.domain.identity.keys import HASHED_FIELDS
from app.domain.identity.phones import PLANS, calling_code
from app.domain.mapping.document import FIELDS
from app.domain.mapping.pipes import MAX_PIPE_STEPS
from app.domain.suggestions.names import SYNONYMS, WORDS, joined, key_by_word, rank, word_list, words_in
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written, text_of
from app.domain.suggestions.trial import FEW, MAX_CANDIDATES, Trial, one_of

_USUAL: Final = 60  # the rank of a usual name: then it matters more whose it is
_EXACT: Final = 90  # the rank of a name that says nothing else
_ENOUGH: Final = 3  # events with one equal value: it does not belong to a person
_PHONE: Final = frozenset(SYNONYMS["phone"])
_AREA_CODE: Final = re.compile(r"\(?[0-9]{1,5}\)?", re.ASCII)
_MANY: Final = 8  # numbers, of which some would not begin with a calling code that is none
_LONG: Final = 11  # digits: more than a national number has in most countries
_WEAK: Final = 25  # a rank of a name that only resembles a usual one
_EMAIL: Final = re.compile(r"\s*[^@\s]+@[^@\s]+\.[^@\s.]+\s*")
_SHA256: Final = re.compile(r"\s*[0-9A-Fa-f]{64}\s*", re.ASCII)
_INTERNATIONAL: Final = re.compile(r"\s*\+[0-9][0-9 ().\-/]{6,24}", re.ASCII)
_NUMBERED: Final = re.compile(r"[0-9]{3}")
_LETTER: Final = re.compile(r"[^\W\d_]")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}", re.ASCII)
_IP: Final = re.compile(
    r"\s*(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})\b.*", re.ASCII
)
_INTERNATIONAL_DIGITS: Final = re.compile(r"[1-9][0-9]{7,14}", re.ASCII)
_CALLING_CODE: Final = re.compile(r"(?:\+|00)?[1-9][0-9]{0,3}", re.ASCII)
_ZEROS: Final = re.compile("00.*", re.DOTALL)
_NUMBERED_PART: Final = re.compile(r"[0-9]{1,5}", re.ASCII)  # such as phone1, phone2 and phone3
_OPAQUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:|=-]{1,99}", re.ASCII)


def _bare_email(text: str) -> str:
    """Return the address of `mailto:ada@example.com` and of `Ada Lovelace <ada@example.com>`."""
    return text.rpartition("<")[2].replace(">", "").rpartition(":")[2]


def _is_name(text: str) -> bool:
    return bool(_LETTER.search(text)) and not _NUMBERED.search(text) and "@" not in text and len(text) <= 80


# For each field, whether a text looks like its value. The check of the field then decides.
_SHAPES: Final[dict[str, Callable[[str], Any]]] = {
    "email": lambda text: _EMAIL.fullmatch(_bare_email(text)),
    "phone": lambda text: not _UUID.fullmatch(text) and sum(map(str.isdigit, text)) >= 6,
    **dict.fromkeys(("first_name", "last_name", "city"), _is_name),
    "address": lambda text: _LETTER.search(text) and "@" not in text and "://" not in text,
    "state": lambda text: _is_name(text) and len(text) <= 40,
    "postal": lambda text: len(text) <= 12 and any(map(str.isalnum, text)) and "@" not in text,
    "maid": lambda text: _UUID.fullmatch(text.strip()),
    "ip_address": _IP.fullmatch,
    "user_agent": lambda text: len(text) >= 8,
}
_HALVES: Final = ("first_name", "last_name")
_OTHER_HALF: Final = dict(zip(_HALVES, reversed(_HALVES), strict=True))
_ANY_TEXT: Final = frozenset({*_HALVES, "city", "state", "address", "postal"})
_OWN: Final = HASHED_FIELDS | {"maid", "match_id"}  # fields that another one than the customer may have, too
_OF_ONE: Final = frozenset({"email", "phone", "maid", "match_id"})  # fields that differ from person to person
# Fields that other modules of this package find, or that no name suggests.
_ELSEWHERE: Final = frozenset({"event_timestamp", "currency", "event_id"})
PERSONAL_FIELDS: Final = tuple(
    row.name
    for row in FIELDS.values()
    if row.takes == "text" and row.name in SYNONYMS and row.name not in _ELSEWHERE
)
# Words that belong to the last name behind them: `van den Berg`.
_PARTICLES: Final = word_list("particles")
_PARTICLE: Final = re.compile(f" (?:{'|'.join(_PARTICLES)}) ")
_WITH_PARTICLES: Final = [["replace", f" {word} ", f" {word.replace(' ', '-')}-"] for word in _PARTICLES]
_FROM_VALUES_ALONE: Final = {"email": _EMAIL, "phone": _INTERNATIONAL}


def candidates(field: str, found: ObservedPaths, *, invented: bool) -> list[ObservedPath]:
    """Return the paths whose values may fill a personal field, the most probable first."""
    rows = []
    fits_shape = _SHAPES.get(field, _OPAQUE.fullmatch)
    composed, parts = _composed_phones(found) if field == "phone" else ([], set[str]())
    halves = {half: _parents(half, found) for half in _HALVES if field in _HALVES}
    has_other_half = halves.get(_OTHER_HALF.get(field, ""), frozenset())
    for each in (*composed, *found.values):
        texts = [text for value in each.found if (text := text_of(value)) is not None]
        is_digest = _SHA256.fullmatch if field in HASHED_FIELDS else lambda text: None
        fits = sum(1 for text in texts if fits_shape(text) or is_digest(text))
        score, role, above = rank(field, each.names), _role(each.names), each.names[:-1]
        is_any_name = joined(each.names[-1]) in WORDS["any_name"]
        is_misplaced = bool(has_other_half) and above not in has_other_half
        if (
            is_given := is_any_name
            and field == "first_name"
            and above in has_other_half - halves[field] - {()}
            and sum(" " in text for text in texts) * 2 < len(texts)  # else the whole name
        ):
            score = _USUAL
        if not score and (shape := _FROM_VALUES_ALONE.get(field)):
            fits = sum(shape.fullmatch(text) is not None for text in texts)
            score = 5 if fits * 2 > len(texts) else 0
        is_address = field == "email" and fits * 2 > len(texts)  # `user_id: "ada@example.com"`
        others = _OWN - ({field, "match_id"} if is_address else {field})
        best_other = max(rank(other, each.names) for other in others)
        is_of_another_field = each.source.get("path") in parts or best_other >= max(_USUAL, score + 20)
        # A weak name needs values that nearly all fit; a usual name may hold anything now and then.
        needed = 2 if field == "email" else 3  # fifths
        is_weak = (score <= 50 or field == "match_id") and fits * 5 < len(texts) * needed
        is_anothers = field in _OWN and _is_anothers(each)
        is_equal = len(texts) >= _ENOUGH and len(set(texts)) == 1
        is_shared = field in _OF_ONE - {"maid"} and is_equal and role in (1, 3) and not invented
        is_no_trait = _is_no_trait(field, each) and not is_given
        is_wrong = is_of_another_field or is_anothers or is_no_trait or (is_misplaced and is_any_name)
        is_wrong |= is_shared and ((role == 1 and score < _EXACT) or len(texts) >= FEW)
        if not score or not fits or is_weak or is_wrong:
            continue
        is_code = field in _ANY_TEXT and each.names[-1] == "id"
        if is_code or each.words & WORDS["second"] or each.names[-1][-1:] in ("2", "3"):
            score -= 40
        role += 4 * is_misplaced
        rows.append((is_shared, score < _USUAL, role, -score, len(each.names), each))
    rows = [row for row in rows if not row[0]] or rows  # else all events are tests of one person
    return [row[-1] for row in sorted(rows, key=lambda row: row[:5])]


def _is_anothers(each: ObservedPath) -> bool:
    """Return whether it is of another person or a company: `store.email`, but not `item.buyer.email`."""
    parts = [words_in([name]) for name in reversed(each.names)]
    last = next((part for part in parts if part & (WORDS["others"] | WORDS["customers"])), frozenset[str]())
    return bool(last & WORDS["others"]) and not last & WORDS["customers"]


def _parents(field: str, found: ObservedPaths) -> frozenset[tuple[str, ...]]:
    """Return the names that lead to the objects with a usual name of a field."""
    return frozenset(each.names[:-1] for each in found.values if rank(field, each.names) >= _USUAL)


def _is_no_trait(field: str, each: ObservedPath) -> bool:
    """Return whether a path is named like something else, or has its values. Any text fits such a field."""
    own = words_in(each.names[-1:])
    if field in _HALVES and own <= WORDS["full_name"]:
        return True
    if field == "address" and joined(each.names[-1]) in WORDS["house_number"]:
        return True
    if field == "state":
        words = {word for text in each.texts for word in text.lower().replace("_", " ").split()}
        own |= words & WORDS["order_states"]
    return field in _ANY_TEXT and not own.isdisjoint(WORDS["no_trait"] | WORDS["order_states"])


def _composed_phones(found: ObservedPaths) -> tuple[list[ObservedPath], set[str]]:
    """Return the phone numbers that are written in parts, and the paths that are only parts.

    Each is a template such as `+{code}{area}{number}`. A number whose name says that it begins with the code
    gets its sign.
    """
    phones: list[ObservedPath] = []
    parts: set[str] = set()
    siblings: dict[tuple[str, ...], list[ObservedPath]] = {}
    for each in found.values:
        if "pipe" not in each.source:
            siblings.setdefault(each.names[:-1], []).append(each)
            if each.words & WORDS["with_calling_code"] and _all_fit(each, _INTERNATIONAL_DIGITS):
                phones.append(_template("+", each.names, each))
    for names, beside in siblings.items():
        areas = [each for each in beside if _is_part(each, "area_code", _AREA_CODE)]
        rest = [each for each in beside if each not in areas]
        codes = [each for each in rest if _is_part(each, "calling_code", _CALLING_CODE)]
        others = [each for each in rest if each not in codes]
        numbers = [each for each in others if rank("phone", each.names)]
        numbered = [
            each for each in numbers if _all_fit(each, _NUMBERED_PART) and each.names[-1][-1].isdigit()
        ]
        if len(numbered) > 1:
            parts |= {each.path for each in numbered}
            phones.append(_template("", (*names, numbered[0].names[-1][:-1]), *numbered))
            continue
        for number in numbers:
            texts = [text_of(value) or "" for value in number.found]
            if any(text.strip().startswith(("+", "00")) for text in texts):
                continue
            if areas or codes:
                parts |= {area.path for area in areas} | ({number.path} if areas else set())
                sign = "" if all(_all_fit(code, _ZEROS) for code in codes) else "+"
                digits = " | digits" if codes and codes[0].texts else ""
                joined = (*codes[:1], *areas[:1], number)
                phones.append(_template(sign, number.names, *joined, of_first=digits))
            elif iso := next((each for each in others if _is_country_of_phone(each)), None):
                parts.add(number.path)
                phones.append(_with_code_of_country(iso, number))
    return phones, parts


def _all_fit(each: ObservedPath, form: re.Pattern[str]) -> bool:
    return all(form.fullmatch((text_of(value) or "").strip()) for value in each.found)


def _is_part(each: ObservedPath, words: str, form: re.Pattern[str]) -> bool:
    """Return whether a path has a part of the phone number beside it: by its names and its values."""
    own = WORDS[words] & words_in(each.names[-1:])
    return bool(own) and (_is_of_phone(each) or len(own) > 1) and bool(each.found) and _all_fit(each, form)


def _is_of_phone(each: ObservedPath) -> bool:
    return rank("phone", each.names[:-1]) > _WEAK or bool(_PHONE & words_in(each.names[-1:]))


def _template(sign: str, names: tuple[str, ...], *parts: ObservedPath, of_first: str = "") -> ObservedPath:
    """Return a template: a sign and paths, of which the first one may have a step.

    Its text is only compared with the forms of phone numbers.
    """
    first, *rest = (each.path for each in parts)
    template = f"{sign}{{{first}{of_first}}}" + "".join(f"{{{path}}}" for path in rest)
    rows = zip(*(each.values for each in parts), strict=True)
    values = tuple(None if None in row else "".join(map(str, row)) for row in rows)
    return ObservedPath({"template": template}, names, values)


def _with_plus(each: ObservedPath, countries: Sequence[str]) -> ObservedPath:
    """Return a template with a plus sign, if all numbers are digits that begin with the country's code."""
    rows = [
        (text_of(value) or "", str(calling_code(country) or "+"))
        for value, country in zip(each.values, countries, strict=True)
        if value is not None
    ]
    if each.source.keys() != {"path"} or len(rows) < _MANY:
        return each
    international = all(
        len(text) >= _LONG and text.isdecimal() and text.startswith(code) for text, code in rows
    )
    return _template("+", each.names, each) if international else each


def _is_country_of_phone(each: ObservedPath) -> bool:
    """Return whether a path has the country of the phone number beside it, not that of the event."""
    countries = [text.upper() in COUNTRIES for text in each.texts]
    return _is_of_phone(each) and rank("country_code", each.names) > 0 and bool(countries) and all(countries)


def _with_code_of_country(country: ObservedPath, number: ObservedPath) -> ObservedPath:
    """Return the number with the calling code of the country beside it.

    A country without a step keeps its double brackets: then the phone number is a placeholder, and dropped.
    """
    often = [text for text, _ in Counter(country.texts).most_common()]
    usual = [code.lower() if often[0].islower() else code for code in PLANS]
    steps = [
        ["replace", f"[[{text}]]", f"+{calling_code(text.upper())} "]
        for text in dict.fromkeys([*often, *usual])
        if calling_code(text.upper())
    ]
    template = f"[[{{{country.path}}}]]{{{number.path}}}"
    return ObservedPath({"template": template, "pipe": steps[:MAX_PIPE_STEPS]}, number.names, number.values)


def _role(names: Sequence[str]) -> int:
    """Return whose path it is: 0 for the customer's, 1 if it is not said, 2 for billing, 3 for shipping."""
    words = words_in(names)
    if words & WORDS["billing"]:
        return 2
    if words & WORDS["shipping"]:
        return 3
    return 0 if WORDS["person"] & words_in(names[:-1]) else 1


def sources_of(field: str, found: ObservedPaths, fitting: Sequence[ObservedPath]) -> list[Written]:
    """Return the sources of the candidates for a field; without any, those of a part of the full name."""
    if field == "address":
        return [source for each in fitting for source in (*_with_house_number(each, found), each.source)]
    return [_piped(field, each) for each in fitting] or _parts_of_full_name(field, found)


def _with_house_number(street: ObservedPath, found: ObservedPaths) -> list[Written]:
    """Return the street with the house number beside it, written behind it."""
    above = street.names[:-1]
    is_address = rank("address", above) > 0  # else `number` is another one
    return [
        {"template": f"{{{street.path}}} {{{each.path}}}"}
        for each in found.values
        if each.names[:-1] == above and joined(each.names[-1]) in WORDS["house_number"]
        if not any(text[-1:].isdigit() for text in street.texts)  # the street has its number
        if is_address or joined(each.names[-1]) not in WORDS["generic"]
        if "pipe" not in street.source.keys() | each.source.keys()
    ]


def find_person(field: str, found: ObservedPaths, trial: Trial) -> FieldFinding | None:
    """Return the source of a field that identifies a person."""
    fitting = candidates(field, found, invented=trial.invented)
    if field == "phone":
        fitting = [_with_plus(each, trial.countries) for each in fitting]
    source = trial.first_of(field, sources_of(field, found, fitting))
    blank = _blank(field, found) if len(trial.events) < FEW else []
    if source is None and not blank:
        return None
    tried = source.get("first_of", [source]) if source else []
    source = one_of([*tried, *(each.source for each in blank)][:MAX_CANDIDATES])
    first = fitting[0].label if fitting else "the full name" if tried else blank[0].label
    if several := len(source.get("first_of", ())):
        return FieldFinding(source, f"{several} paths are tried in turn, first {first}.")
    return FieldFinding(source, f"Named {first}, and its values fit.")


def _blank(field: str, found: ObservedPaths) -> list[ObservedPath]:
    """Return the paths of a usual name that are blank in all events, of which there are few."""
    usual = (each for each in found.blank if field in _OF_ONE and rank(field, each.names) > 45)
    return [each for each in usual if not each.words & (WORDS["others"] | WORDS["second"])]


def _piped(field: str, each: ObservedPath) -> Written:
    if field == "email":
        named = any("<" in text for text in each.texts)
        link = any("mailto:" in text for text in each.texts)
        return each.piped(
            *([["split", "<"], "last", ["replace", ">", ""]] if named else []),
            *([["split", ":"], "last"] if link else []),
        )
    if field == "user_agent" and any(len(str(value)) > 400 for value in each.found):
        return each.piped(["substring", 0, 512])
    return each.source


def _parts_of_full_name(field: str, found: ObservedPaths) -> list[Written]:
    """Return the first or last word of a full name."""
    if field not in _HALVES:
        return []
    sources = []
    for each in found.values:
        own = words_in(each.names[-1:])
        is_unclear = own == {"name"} and _role(each.names) == 1
        if not own <= WORDS["full_name"] or each.in_list or is_unclear:
            continue
        texts = [text.strip() for text in each.texts if _is_name(text)]
        commas = {text.count(",") for text in texts}
        if commas not in ({0}, {1}):
            continue
        separator = "," if commas == {1} else " "  # `Lovelace, Ada`
        is_first = (field == "first_name") is (separator == " ")
        rows = [text.lower().split(separator) for text in texts]
        words = {word for row in rows for word in row[0 if is_first else -1].replace(".", " ").split()}
        has_parts = sum(len(row) > 1 for row in rows) * 2 > len(texts)
        if has_parts and words.isdisjoint(WORDS["affixes"]):
            particles = [] if is_first or not any(map(_PARTICLE.search, texts)) else _WITH_PARTICLES
            end = "first" if is_first else "last"
            sources.append(each.piped("trim", *particles, ["split", separator], end))
    return sources


# --- Country ---------------------------------------------------------------------------------------

_COUNTRY_WORDS: Final = key_by_word("countries")
# A table has at most 200 rows: the codes of three letters are one, the names another.
_COUNTRY_STEPS: Final = [
    ["map", {word: code for word, code in _COUNTRY_WORDS.items() if (len(word) > 3) is is_name}]
    for is_name in (False, True)
]


def _looks_like_countries(each: ObservedPath, texts: Sequence[str]) -> int:
    """Return a low rank for a path of two-letter country codes whose name says nothing."""
    codes = all(len(text) == 2 and text.upper() in COUNTRIES for text in texts)
    return 5 if codes and len(set(texts)) > 1 and not WORDS["no_country"] & words_in(each.names[-1:]) else 0


def find_country(found: ObservedPaths, trial: Trial) -> FieldFinding:
    """Return the source of the event's country."""
    rows = []
    for each in found.values:
        texts = [text.strip() for text in each.texts]
        score = rank("country_code", each.names) or _looks_like_countries(each, texts)
        if not score or not texts:
            continue
        own = words_in(each.names[-1:])
        tags = bool(own & {"language", "locale"}) and "country" not in own
        codes = sum(read_country(text) is not None and (not tags or len(text) >= 5) for text in texts)
        spelled = sum(text.lower() in _COUNTRY_WORDS for text in texts)
        if (codes + spelled) * 2 < len(texts):
            continue
        source = each.source
        if codes < len(texts) and spelled:
            source = each.piped("trim", "lower", *_COUNTRY_STEPS)
            score -= 5
        penalty = 30 * bool(each.words & WORDS["others"]) + 20 * (each.in_list)
        rows.append((penalty - score, _role(each.names), len(each.names), source, each))
    rows.sort(key=lambda row: row[:3])
    best = trial.first_of("country_code", [source for *_, source, _ in rows])
    if best is None:
        return FieldFinding(None, "", ("not_found",))
    everywhere = all(trial.usable("country_code", best))
    reason = f"Named {rows[0][-1].label}; its values are countries."
    return FieldFinding(best, reason, () if everywhere else ("missing_in_some_events",))
