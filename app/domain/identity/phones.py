"""Normalise phone numbers to digits with the country's calling code, without `+`.

The library `phonenumbers` takes tens of microseconds for a number. Most numbers are read without it, by the
numbering plans of the countries in which Amazon advertises. A plan matches only numbers that the library
would accept unchanged, which a test checks for every plan. All other numbers are passed to the library.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult

from app.domain.identity.keys import DropReason
from app.domain.identity.placeholders import is_placeholder_or_digest
from app.domain.toml_files import read_toml

_NOT_DIGIT: Final = re.compile(r"[^0-9]+")
_IGNORED: Final = re.compile(r"[^0-9+A-Za-z#,;]+")
_LETTERS: Final = re.compile(r"[A-Za-z#,;]+")
_PLUS_WITHIN: Final = re.compile(r"[1-9][^0-9+]*\+[^0-9]*[0-9]")  # two numbers, or one that is cut

# A complete number with an extension or tones to dial after it. `x` stands for letters, `#`, `,` and `;`.
# More than seven digits after an `x` are a second number: the text does not match and is invalid.
_WITH_EXTENSION: Final = re.compile(r"x?(\+*[0-9]{7,})(?:x[0-9]{0,7})+")

# Mobile phones of Mexico had a 1 behind the calling code until 2019, and many are still written with it. No
# number of today has this form.
_OLD_MEXICAN: Final = re.compile(r"(?P<abroad>00)?521[2-9]\d{9}", re.ASCII)

# E.164 allows 15 digits, and no international prefix has more than five. The library would take quadratic
# time to refuse longer numbers.
_LONGEST: Final = 20


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """The phone numbers of a country.

    `code` is the country's calling code, and `national` matches a number without it. `trunk` is the prefix
    for calls within the country. `trunk` is None if the same digits could be a national and an international
    number.
    """

    code: str
    trunk: str | None
    national: str


PLANS: Final[Mapping[str, NumberingPlan]] = {
    country: NumberingPlan(row["code"], row.get("trunk"), row["national"])
    for country, row in read_toml(__file__, "phone_plans").items()
}

# The numbers of all plans, preceded by the calling code. No code is a prefix of another code.
INTERNATIONAL: Final = re.compile(
    "|".join(dict.fromkeys(f"{plan.code}(?:{plan.national})" for plan in PLANS.values())), re.ASCII
)

# The numbers of each country as dialled within it. The first group is the number without the trunk prefix.
AT_HOME: Final[Mapping[str, re.Pattern[str]]] = {
    country: re.compile(f"{plan.trunk}({plan.national})", re.ASCII)
    for country, plan in PLANS.items()
    if plan.trunk is not None
}


def amazon_phone(text: str, country: str) -> str | DropReason:
    """Return the digits of a phone number with its calling code, or why the trait is dropped.

    A number without `+` is first read as dialled in `country`. Letters and extensions are removed. A number
    that is possible but not assigned is accepted. A number without its area code is dropped. Source: P8, P9.
    """
    # Fast path: most numbers have this form, and a placeholder does not match.
    if text.startswith("+") and INTERNATIONAL.fullmatch(text, 1):
        return text[1:]
    if dropped := is_placeholder_or_digest(text):
        return dropped
    plus, digits = _read(text)
    if dropped := _is_zeros(digits):
        return dropped
    if len(digits) > _LONGEST or _PLUS_WITHIN.search(text):
        return DropReason.IMPOSSIBLE_PHONE
    if (old := _OLD_MEXICAN.fullmatch(digits)) and (plus or country == "MX" or old["abroad"]):
        plus, digits = True, "52" + digits[-10:]
    return _parse_by_plan(plus, digits, country) or _parse_by_library(plus, digits, country)


def calling_code(country: str) -> int:
    """Return the calling code of a country, 0 if it has none."""
    return phonenumbers.country_code_for_region(country)


def segment_phone(text: str, country: str) -> str | DropReason:
    """Return the digits of a phone number, as Segment's connector does: no calling code is added."""
    digits = _NOT_DIGIT.sub("", text)
    return _is_zeros(digits) or digits


def template_phone(text: str, country: str) -> str | DropReason:
    """Return the digits without leading zeros, as Amazon's tag template does.

    The country's calling code is added unless the digits begin with it. The template knows the codes of 21
    countries: all in `PLANS` except South Africa.
    """
    digits = _NOT_DIGIT.sub("", text)
    significant = digits.lstrip("0")
    code = PLANS[country].code if country in PLANS and country != "ZA" else ""
    return _is_zeros(digits) or (significant if significant.startswith(code) else code + significant)


# The digits that people dial for `+`: in most countries, North America, Japan, Australia.
_CALLS_ABROAD: Final = ("00", "011", "010", "0011")


def phone_spellings(text: str, countries: Iterable[str]) -> frozenset[str]:
    """Return the digits that a profile can hash for other spellings of a phone number, without extension.

    A number without a country code is read in each of `countries`.
    """
    read = {amazon_phone(text, country) for country in countries}
    numbers = {number for number in read if isinstance(number, str)}
    spellings: set[str] = set()
    for digits in numbers:
        abroad = {digits, "521" + digits[2:]} if digits.startswith("52") else {digits}
        if number := _parse_possible("+" + digits, None):
            spellings |= _spellings_at_home(number)
            abroad.add(f"{number.country_code}{_trunk(number)}{digits[len(str(number.country_code)) :]}")
        spellings |= abroad | {prefix + each for prefix in _CALLS_ABROAD for each in abroad}
        if len(numbers) == 1:  # the tag template adds the event's country to a number of another country
            spellings |= {plan.code + each for plan in PLANS.values() for each in abroad}
    # The tag template removes zeros.
    return frozenset(spellings | {each.lstrip("0") for each in spellings})


def _spellings_at_home(number: PhoneNumber) -> set[str]:
    """Return the digits as dialled in the number's country, also behind the country's code: `+44 (0)20 …`."""
    code, national = number.country_code or 0, phonenumbers.national_significant_number(number)
    trunk = _trunk(number)
    written = _NOT_DIGIT.sub("", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
    dialled = {national, trunk + national, trunk.lstrip("0") + national, written, written.lstrip("0")}
    # A code without `+` can be read as a part of the national number, and gets the code again.
    return dialled | {f"{code}{each}" for each in dialled} | {f"{code}{code}{national}"}


def _trunk(number: PhoneNumber) -> str:
    """Return the prefix for calls within a number's country. Many write it abroad, too: `0044 (0)20 …`."""
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return phonenumbers.ndd_prefix_for_region(region, True) or ""


def _is_zeros(digits: str) -> DropReason | None:
    """Return the reason to drop a number without a digit other than 0, None for any other number."""
    if digits.strip("0"):
        return None
    return DropReason.PLACEHOLDER if digits else DropReason.EMPTY


def _read(text: str) -> tuple[bool, str]:
    """Return whether a number begins with `+`, and its digits without the extension."""
    text = text if text.isascii() else "".join([_plain_character(char) for char in text])
    written = _LETTERS.sub("x", _IGNORED.sub("", text.strip().removesuffix(".0")))
    if "x" in written and (number := _WITH_EXTENSION.fullmatch(written)):
        written = number[1]
    return written.lstrip("x").startswith("+"), _NOT_DIGIT.sub("", written)


def _plain_character(char: str) -> str:
    """Map digits and plus signs of any script to ASCII, other letters to `x`, and all else to a space."""
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if char.isascii():
        return char
    if char == "＋":
        return "+"
    return "x" if char.isalpha() else " "


def _parse_by_plan(plus: bool, digits: str, country: str) -> str | None:
    if plus:
        return digits if INTERNATIONAL.fullmatch(digits) else None
    at_home = AT_HOME.get(country)
    number = at_home.fullmatch(digits) if at_home else None
    return PLANS[country].code + number[1] if number else None


def _parse_by_library(plus: bool, digits: str, country: str) -> str | DropReason:
    if plus:
        number = _parse_possible("+" + digits, None)
    elif digits.startswith("00"):
        number = _parse_possible("+" + digits[2:], None)
    else:
        number = _parse_without_plus(digits, country)
    if number is None:
        return DropReason.IMPOSSIBLE_PHONE
    if number.national_number == 0:
        return DropReason.PLACEHOLDER
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def _parse_without_plus(digits: str, country: str) -> PhoneNumber | None:
    """Parse digits as a national number or as an international one, and prefer an assigned number.

    If both are assigned, digits with the country's own calling code and without its trunk prefix are an
    international number, as systems store it: people of these countries write the prefix. In all other cases
    the result is the national number.
    """
    national, international = _parse_possible(digits, country), _parse_possible("+" + digits, None)
    if national is None or international is None:
        return national or international
    if not phonenumbers.is_valid_number(international):
        return national
    is_at_home = international.country_code != national.country_code or digits.startswith(_trunk(national))
    return national if is_at_home and phonenumbers.is_valid_number(national) else international


def _parse_possible(written: str, region: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException:
        return None
    # A number without its area code is possible only locally. It is refused: many people share it.
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if possible else None
