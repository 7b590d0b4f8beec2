"""Phone numbers: digits with country code, without `+`, completed from the event's country."""

import re
import unicodedata
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.phone_plans import AT_HOME, INTERNATIONAL, PLANS
from app.domain.identity.placeholders import is_placeholder_or_digest

_NOT_DIGIT: Final = re.compile(r"[^0-9]+")
_IGNORED: Final = re.compile(r"[^0-9+A-Za-z#,;]+")
_LETTERS: Final = re.compile(r"[A-Za-z#,;]+")

# `x` stands for letters, `#`, `,` or `;`. Short digit runs after a complete number are an extension or a tone
# sequence; a longer run is a second number, which makes the text invalid.
_WITH_EXTENSION: Final = re.compile(r"x?(\+*[0-9]{7,})(?:x[0-9]{0,7})+")

# E.164 allows 15 digits, and no international prefix is longer than five. For longer runs the library takes
# quadratic time before it refuses them.
_LONGEST: Final = 20


def amazon_phone(text: str, country: str) -> str | DroppedKey:
    """Return a number's digits with its country code, or why it is not a number.

    A number without `+` is first read as dialled in the country. Possible but unassigned numbers are kept; a
    number without its area code is not possible. Letters and extensions are dropped. Source: P8, P9.
    """
    # Fast exit: most numbers have this form, and such a text is not a placeholder.
    if text.startswith("+") and INTERNATIONAL.fullmatch(text, 1):
        return text[1:]
    if dropped := is_placeholder_or_digest(text):
        return dropped
    plus, digits = _read(text)
    if not digits:
        return DroppedKey(DropReason.EMPTY)
    if not digits.strip("0"):
        return DroppedKey(DropReason.PLACEHOLDER)
    if len(digits) > _LONGEST:
        return DroppedKey(DropReason.IMPOSSIBLE_PHONE)
    return _plain(plus, digits, country) or _looked_up(plus, digits, country)


def segment_phone(text: str, country: str) -> str | DroppedKey:
    """Return the digits as typed; a national number stays national."""
    digits = _NOT_DIGIT.sub("", text)
    return _unless_zeros(digits, digits)


def template_phone(text: str, country: str) -> str | DroppedKey:
    """Return the digits without leading zeros, prefixed with the country's code unless they begin with it.

    The template has the codes of 21 countries; a number of any other country gets none.
    """
    digits = _NOT_DIGIT.sub("", text)
    significant = digits.lstrip("0")
    plan = PLANS.get(country) if country != "ZA" else None
    code = plan.code if plan else ""
    return _unless_zeros(digits, significant if significant.startswith(code) else code + significant)


def _unless_zeros(digits: str, number: str) -> str | DroppedKey:
    if not digits:
        return DroppedKey(DropReason.EMPTY)
    return number if digits.strip("0") else DroppedKey(DropReason.PLACEHOLDER)


def _read(text: str) -> tuple[bool, str]:
    """Return whether a number is written with `+`, and its digits without letters and extension."""
    if not text.isascii():
        text = "".join([_plain_character(char) for char in text])
    written = _LETTERS.sub("x", _IGNORED.sub("", text))
    if "x" in written and (number := _WITH_EXTENSION.fullmatch(written)):
        written = number[1]
    return written.lstrip("x").startswith("+"), _NOT_DIGIT.sub("", written)


def _plain_character(char: str) -> str:
    """Map digits and plus signs of any script to ASCII and each letter to `x`; drop everything else."""
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if char.isascii():
        return char
    if char == "＋":
        return "+"
    return "x" if char.isalpha() else " "


def _plain(plus: bool, digits: str, country: str) -> str | None:
    """Parse a number without the library where its shape is unambiguous."""
    if plus:
        return digits if INTERNATIONAL.fullmatch(digits) else None
    at_home = AT_HOME.get(country)
    number = at_home.fullmatch(digits) if at_home else None
    return PLANS[country].code + number[1] if number else None


def _looked_up(plus: bool, digits: str, country: str) -> str | DroppedKey:
    if plus:
        number = _possible("+" + digits, None)
    elif digits.startswith("00"):
        number = _possible("+" + digits[2:], None)
    else:
        number = _at_home_or_abroad(digits, country)
    if number is None:
        return DroppedKey(DropReason.IMPOSSIBLE_PHONE)
    if number.national_number == 0:
        return DroppedKey(DropReason.PLACEHOLDER)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


def _at_home_or_abroad(digits: str, country: str) -> PhoneNumber | None:
    """Parse digits without `+` as national, unless they are an assigned number only as an international
    one.
    """
    home = _possible(digits, country)
    if home is not None and phonenumbers.is_valid_number(home):
        return home
    abroad = _possible("+" + digits, None)
    if abroad is not None and (home is None or phonenumbers.is_valid_number(abroad)):
        return abroad
    return home


def _possible(written: str, region: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException:
        return None
    # A number that is possible only locally lacks its area code: many people share it.
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if possible else None
