"""Countries, currencies, states: the tables, and how a spelling becomes a row of them."""

import pytest

from app.domain.conversion.amazon_codes import COUNTRIES, CURRENCIES, ReadAsGB, read_country
from app.domain.conversion.consent import CONSENT_COUNTRIES
from app.domain.identity import profiles
from app.domain.identity.profiles import BY_COUNTRY, amazon_state
from tests.tables import cases


@cases(
    ("text", "expected"),
    {
        "a code": ("US", "US"),
        "lower case is raised, also of a language": ("de", "DE"),
        "spaces around are taken off": (" de ", "DE"),
        "a language tag gives its region": ("en-US", "US"),
        "not its language": ("fr-CA", "CA"),
        "with a script between": ("zh-Hant-TW", "TW"),
        "UK becomes GB, with a warning": ("UK", ReadAsGB("GB")),
        "in a language tag too": ("en-UK", ReadAsGB("GB")),
        "Amazon's own word": ("OTHER_EEA", "OTHER_EEA"),
        "three letters": ("USA", None),
        "no country's code": ("XX", None),
        "a union is no country": ("EU", None),
        "full-width letters": ("ＵＳ", None),
        "a line break": ("US\n", None),
        "a locale with an underscore": ("en_US", None),
        "nothing": ("", None),
        "a long s, which upper case makes an S": ("ſi", None),
    },
)
def test_reading_a_country(text: str, expected: str | None) -> None:
    """A country is one of Amazon's codes or nothing; the need for consent hangs on it."""
    code = read_country(text)
    assert (code, type(code)) == (expected, type(expected))


def test_consent_is_needed_in_the_eea_the_united_kingdom_and_switzerland() -> None:
    """27 of the Union, seven outermost regions, three more of the EEA, GB, CH, and an unnamed EEA country."""
    assert len(CONSENT_COUNTRIES) == 27 + 7 + 3 + 3
    assert {"IS", "LI", "NO", "GB", "CH", "OTHER_EEA", "HR", "CY"} <= CONSENT_COUNTRIES
    assert not {"US", "JP", "AU", "TR", "OTHER"} & CONSENT_COUNTRIES
    assert CONSENT_COUNTRIES <= COUNTRIES


def test_the_lists_are_as_long_as_the_schema_s() -> None:
    """252 countries and 81 currencies, each spelled as a code."""
    assert len(COUNTRIES) == 252
    assert len(CURRENCIES) == 81
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
    assert {code for code in COUNTRIES if len(code) != 2} == {"OTHER", "OTHER_EEA"}
    assert {"GB", "ZZ", "XK"} & COUNTRIES == {"GB", "ZZ"}


def test_states_are_all_there() -> None:
    """50 states, the district, five territories, three associated states and the islands; 13 for Canada."""
    assert len(set(BY_COUNTRY["US"].values())) == 50 + 1 + 5 + 1 + 3
    assert len(set(BY_COUNTRY["CA"].values())) == 13
    for names in BY_COUNTRY.values():
        assert all(len(code) == 2 for code in names.values())


def test_no_name_belongs_to_a_state_and_a_province() -> None:
    """The tag template asks for no country, so a name or code must speak of one place only."""
    assert not set(BY_COUNTRY["US"]) & set(BY_COUNTRY["CA"])


@pytest.mark.parametrize(
    ("text", "country", "expected"),
    [
        ("West Virginia", "US", "wv"),
        ("Washington", "US", "wa"),
        ("Utah", "US", "ut"),
        ("US Virgin Islands", "US", "vi"),
        ("DECA", "US", "deca"),
        ("USCAL", "US", "uscal"),
        ("Washington, D.C.", "US", "dc"),
        ("U.S. Virgin Islands", "US", "vi"),
        ("Hawaiʻi", "US", "hi"),
        ("US-CA", "US", "ca"),
        ("AE", "US", "ae"),
        ("PQ", "CA", "qc"),
        ("Que\u0301bec", "CA", "qc"),
        ("Newfoundland & Labrador", "CA", "nl"),
        ("Île-du-Prince-Édouard", "CA", "pe"),
        ("Ontario", "US", "ontario"),
        ("Bayern", "DE", "bayern"),
        ("Cádiz", "ES", "cdiz"),
    ],
)
def test_a_state_is_two_letters_in_its_own_country(text: str, country: str, expected: str) -> None:
    """States of the US and provinces of Canada shorten; every other name is treated as a city's."""
    assert amazon_state(text, country) == expected


def test_no_word_list_shortens_a_word_twice() -> None:
    """Within a list no short form is itself shortened, so the order of its rows says nothing."""
    lists = [profiles.EVERYWHERE, profiles.WORDS["directions"], profiles.WORDS["number"]]
    lists += [*profiles.COUNTRY_WORDS.values(), *profiles.TEMPLATE_COUNTRY_WORDS.values()]
    for words in lists:
        assert not set(words.values()) & set(words)
    assert sum(len(words) for words in profiles.COUNTRY_WORDS.values()) == 361 + 20 + 8 + 17 + 45
