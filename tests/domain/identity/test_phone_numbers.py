"""Phone numbers under the default profile: complete, or not at all."""

import re
from timeit import repeat

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import NumberParseException, ValidationResult

from app.domain.identity.keys import DroppedKey, DropReason
from app.domain.identity.phone_plans import PLANS
from app.domain.identity.phones import amazon_phone


def read_by_the_library(written: str, region: str | None) -> str | DroppedKey:
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException:
        return DroppedKey(DropReason.IMPOSSIBLE_PHONE)
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return DroppedKey(DropReason.IMPOSSIBLE_PHONE)
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


@pytest.mark.parametrize(
    ("trait", "country", "expected"),
    [
        pytest.param("0044 7911 123456", "DE", "447911123456", id="00 stands for +"),
        pytest.param("0044 7911 123456", "US", "447911123456", id="even where 00 is not dialled"),
        pytest.param("010 500 21234", "JP", "50021234", id="Japan's own way abroad"),
        pytest.param("011-234-5678", "JP", "81112345678", id="which is not Sapporo's area code"),
        pytest.param("+493٠١٢٣٤٥٦٧", "DE", "49301234567", id="two scripts' digits in one number"),
        pytest.param("011 44 7911 123456", "US", "447911123456", id="the country's own way abroad"),
        pytest.param("447911123456", "US", "447911123456", id="another country's digits without +"),
        pytest.param("15551234567", "US", "15551234567", id="its own code without +"),
        pytest.param("1 (555) 123-4567", "CA", "15551234567", id="the trunk digit 1"),
        pytest.param("06 1234 5678", "IT", "390612345678", id="Italy keeps its zero"),
        pytest.param("612 34 56 78", "ES", "34612345678", id="a country without a trunk digit"),
        pytest.param(
            "+49 (0)30 123456", "US", "4930123456", id="a bracketed zero is not dialled from abroad"
        ),
        pytest.param("+49 30 123456 Durchwahl 12", "DE", "4930123456", id="an extension in any language"),
        pytest.param("5551234567,,123#", "US", "15551234567", id="tones after a pause"),
        pytest.param("Mobil: 0151 23456789", "DE", "4915123456789", id="a label before the number"),
        pytest.param("12065550142", "DE", "12065550142", id="assigned abroad, only possible at home"),
        pytest.param("11234567890", "DE", "4911234567890", id="assigned nowhere: at home"),
        pytest.param("11234567890", "OTHER", "11234567890", id="possible abroad, and there is no home"),
        pytest.param("＋49 30 123456", "US", "4930123456", id="a full-width plus is a plus"),
        pytest.param("\u202d555 123 4567", "US", "15551234567", id="a direction mark is none"),
        pytest.param("+49 30 123456 доб. 12", "DE", "4930123456", id="an extension in another script"),
        pytest.param("+447911123456", "OTHER", "447911123456", id="a country that is none needs the +"),
        pytest.param("+1 (123) 456-7890", "US", "11234567890", id="possible though no area has it"),
        pytest.param(
            "07911 123456", "OTHER", DroppedKey(DropReason.IMPOSSIBLE_PHONE), id="national to no country"
        ),
        pytest.param(
            "+999 1234567", "US", DroppedKey(DropReason.IMPOSSIBLE_PHONE), id="a code no country has"
        ),
        pytest.param("+" + "1" * 16, "US", DroppedKey(DropReason.IMPOSSIBLE_PHONE), id="a digit too many"),
    ],
)
def test_a_number_is_completed_from_the_country(trait: str, country: str, expected: str | DroppedKey) -> None:
    """Digits with country code and no plus, whatever way they were written."""
    assert amazon_phone(trait, country) == expected


def test_a_long_run_of_digits_never_reaches_the_library() -> None:
    """Two hundred digits are refused sooner than one real number is looked up."""
    hostile = min(repeat(lambda: amazon_phone("9" * 240, "DE"), number=20, repeat=5))
    honest = min(repeat(lambda: amazon_phone("+351 912 345 678", "DE"), number=20, repeat=5))
    assert hostile < honest
