"""Phone numbers under the default profile: complete, or not at all."""

import re
from timeit import repeat

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import NumberParseException, ValidationResult

from app.domain.identity.keys import DropReason
from app.domain.identity.phones import PLANS, amazon_phone
from tests.tables import cases


def read_by_the_library(written: str, region: str | None) -> str | DropReason:
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException:
        return DropReason.IMPOSSIBLE_PHONE
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return DropReason.IMPOSSIBLE_PHONE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]


@pytest.mark.parametrize("country", PLANS)
@settings(max_examples=100)
@given(source=st.data())
def test_every_row_of_the_plans_reads_as_the_library_does(country: str, source: st.DataObject) -> None:
    """A number that needs no library comes out as the library would have read it, abroad and at home."""
    plan = PLANS[country]
    national = source.draw(st.from_regex(re.compile(plan.national, re.ASCII), fullmatch=True))
    international = f"+{plan.code}{national}"
    assert amazon_phone(international, country) == read_by_the_library(international, None)
    if plan.trunk is not None:
        dialled = plan.trunk + national
        assert amazon_phone(dialled, country) == read_by_the_library(dialled, country)


@cases(
    ("trait", "country", "expected"),
    {
        "00 stands for +": ("0044 7911 123456", "DE", "447911123456"),
        "even where 00 is not dialled": ("0044 7911 123456", "US", "447911123456"),
        "Japan's own way abroad": ("010 500 21234", "JP", "50021234"),
        "which is not Sapporo's area code": ("011-234-5678", "JP", "81112345678"),
        "two scripts' digits in one number": ("+493٠١٢٣٤٥٦٧", "DE", "49301234567"),
        "the country's own way abroad": ("011 44 7911 123456", "US", "447911123456"),
        "the country's own digits without +": ("491605551234", "DE", "491605551234"),
        "which a trunk digit makes an area code": ("0491 605551234", "DE", "49491605551234"),
        "Italy has no trunk digit": ("3931234567", "IT", "393931234567"),
        "another country's digits without +": ("447911123456", "US", "447911123456"),
        "its own code without +": ("15551234567", "US", "15551234567"),
        "the trunk digit 1": ("1 (555) 123-4567", "CA", "15551234567"),
        "Italy keeps its zero": ("06 1234 5678", "IT", "390612345678"),
        "a country without a trunk digit": ("612 34 56 78", "ES", "34612345678"),
        "an old Mexican mobile phone has no 1": ("+52 1 33 1234 5678", "US", "523312345678"),
        "nor has it without a plus sign": ("521 33 1234 5678", "MX", "523312345678"),
        "nor has it behind 00": ("0052 1 33 1234 5678", "US", "523312345678"),
        "a bracketed zero is not dialled from abroad": ("+49 (0)30 123456", "US", "4930123456"),
        "an extension in any language": ("+49 30 123456 Durchwahl 12", "DE", "4930123456"),
        "tones after a pause": ("5551234567,,123#", "US", "15551234567"),
        "a label before the number": ("Mobil: 0151 23456789", "DE", "4915123456789"),
        "assigned abroad, only possible at home": ("12065550142", "DE", "12065550142"),
        "assigned nowhere: at home": ("11234567890", "DE", "4911234567890"),
        "possible abroad, and there is no home": ("11234567890", "OTHER", "11234567890"),
        "a full-width plus is a plus": ("＋49 30 123456", "US", "4930123456"),
        "a direction mark is none": ("\u202d555 123 4567", "US", "15551234567"),
        "an extension in another script": ("+49 30 123456 доб. 12", "DE", "4930123456"),
        "a country that is none needs the +": ("+447911123456", "OTHER", "447911123456"),
        "possible though no area has it": ("+1 (123) 456-7890", "US", "11234567890"),
        "national to no country": ("07911 123456", "OTHER", DropReason.IMPOSSIBLE_PHONE),
        "a float of a spreadsheet": ("14155552671.0", "US", "14155552671"),
        "cut by a spreadsheet": ("4.91605551234E+11", "DE", DropReason.IMPOSSIBLE_PHONE),
        "the code typed twice": ("+49+491605551234", "DE", DropReason.IMPOSSIBLE_PHONE),
        "a plus sign behind the digits": ("14155552671+", "US", "14155552671"),
        "00 and a plus": ("00+49 30 123456", "DE", "4930123456"),
        "a code no country has": ("+999 1234567", "US", DropReason.IMPOSSIBLE_PHONE),
        "a digit too many": ("+" + "1" * 16, "US", DropReason.IMPOSSIBLE_PHONE),
    },
)
def test_a_number_is_completed_from_the_country(trait: str, country: str, expected: str | DropReason) -> None:
    """Digits with country code and no plus, whatever way they were written."""
    assert amazon_phone(trait, country) == expected


def test_a_long_run_of_digits_never_reaches_the_library() -> None:
    """Two hundred digits are refused sooner than one real number is looked up."""
    hostile = min(repeat(lambda: amazon_phone("9" * 240, "DE"), number=20, repeat=5))
    honest = min(repeat(lambda: amazon_phone("+351 912 345 678", "DE"), number=20, repeat=5))
    assert hostile < honest
