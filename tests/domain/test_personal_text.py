"""What counts as an email address or a phone number in ids, names, notes and mappings."""

import time
from collections.abc import Callable

import pytest

from app.admin.access.people import display_name
from app.domain.event import journey_id
from app.domain.mapping.document import check_draft
from app.domain.mapping.event_name import clean_event_name
from app.domain.mapping.pipes import make_step, run
from app.domain.mapping.reading import Reading, StepProblem
from app.domain.privacy.personal_text import holds_personal_text, is_personal_id
from app.domain.suggestions.names import words_of


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com",
        "Ticket of Ada <ada@example.com>",
        "mailto:ada@mail.example.co.uk",
        "ada%40example.com",
        "https://shop.example/?email=ada%40example.com",
        "ada%2540example.com",
        "ada＠example．com",
        "ada%EF%BC%A0example.com",
        "+12065550142",
        "%2B4915112345678",
        "＋４９１５１１２３４５６７８",
        "MAILTO%3Asomeone",
        "tel:4915112345678",
        "tel:+1",
        "call +1 (206) 555-0142 first",
        "tel:+1-206-555-0142",
        "+44 20.7946.0958",
        "+44 20\u20117946\u22120958",
    ],
)
def test_an_address_or_number_is_found_anywhere(text: str) -> None:
    assert holds_personal_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Acme US",
        "Orders @ Acme",
        "Acme@NA",
        "v1.2@staging",
        "580123456789012345",
        "2065550142",
        "+20 % revenue",
        "A+1234567",
        "q4+2026",
        "+1234567",
        "amzn1.ads-account.g.abc",
    ],
)
def test_names_ids_and_counts_are_neither(text: str) -> None:
    """Digits alone are ids; a name may hold an at sign between words."""
    assert not holds_personal_text(text)


@pytest.mark.parametrize(
    ("text", "personal"),
    [
        ("ord-1", False),
        ("2065550142", False),
        ("AEBE52E7-03EE-455A-B3C4-E57283966239", False),
        ("50%off", False),
        ("order+12065550142", True),
        ("order+1206555", False),
        ("+1234567", False),
        ("+1234567890123456", False),
        ("a@b", True),
        ("ada%40example.com", True),
        ("ada＠example.com", True),
        ("ada﹫example.com", True),
        ("+12345678", True),
        ("+123456789012345", True),
        ("+15551928493:n7", True),
        ("+1 (206) 555-0142", True),
        ("+1.206.555.0142 ", True),
        ("tel:+1-206-555-0142", True),
        ("+1\u2011206\u2011555\u20130142", True),
        ("＋12065550142", True),
    ],
)
def test_an_id_is_personal_with_an_at_sign_or_as_a_phone_number(text: str, personal: bool) -> None:
    """The same for event ids and for the ids of journeys, nodes and executions."""
    assert is_personal_id(text) is personal
    assert journey_id(text) == (None if personal else text)


@pytest.mark.parametrize(
    ("member", "written", "at"),
    [
        ("name", "for ada@example.com", "name"),
        ("fields", {"email": {"path": "email", "default": "ada@example.com"}}, "fields.email"),
        ("fields", {"first_name": {"const": "+1 206 555 0142"}}, "fields.first_name"),
        ("fields", {"phone": 'users["ada@example.com"].phone'}, "fields.phone"),
        (
            "custom_data",
            [{"name": "a", "path": "x"}, {"name": "b", "const": "ada@example.com"}],
            "custom_data[1]",
        ),
        ("consent", {"mode": "amazon", "user_data": 'c["ada@example.com"]'}, "consent"),
    ],
)
def test_a_mapping_holds_no_address(member: str, written: object, at: str) -> None:
    """Wherever it is written; the problem names the place and no text."""
    found = [each for each in check_draft({member: written}) if each.problem == "personal"]
    assert [each.path for each in found] == [at]
    assert "ada" not in repr(found)


def test_an_unknown_member_is_left_out() -> None:
    """A member name may be the address itself."""
    problems = check_draft({"fields": {"ada@example.com": "x"}})
    assert {each.path for each in problems} == {"fields", "fields.?"}
    assert "ada" not in repr(problems)


HOSTILE = "a" + "\N{COMBINING ACUTE ACCENT}" * 20_000 + "\N{COMBINING GRAVE ACCENT BELOW}" * 20_000


def slug(text: str) -> object:
    """Apply the step to texts of the longest length that it takes."""
    step = make_step("slug")
    assert not isinstance(step, StepProblem)
    middle = len(text) // 2
    return [run((step,), text[middle - 4_000 : middle + 4_000], Reading()) for _ in range(20)]


@pytest.mark.parametrize(
    "read",
    [
        holds_personal_text,
        is_personal_id,
        words_of,
        clean_event_name,
        lambda text: display_name(text, "sub"),
        slug,
    ],
)
def test_marks_over_one_letter_take_no_time(read: Callable[[str], object]) -> None:
    """Most releases of Python sort them in quadratic time: two seconds for these."""
    began = time.process_time()
    read(HOSTILE)
    assert time.process_time() - began < 0.3


def test_an_address_is_found_among_marks() -> None:
    assert holds_personal_text(f"{HOSTILE}＠example.com")
