"""What an unreadable value costs, and that no value in clear names a person (interface §4.4, §4.5)."""

from typing import Any

import pytest
from conversions import NOW, RULES, amazon_event, compiled, converted, document, event, refused, warnings

from app.domain.conversion.convert import MAX_WORK, Conversion, ConversionPlan, Rules, Work
from app.domain.conversion.values import CHECKS
from app.domain.destination import Region
from app.domain.event import Event, Rejection
from app.domain.identity.keys import MATCH_KEYS
from tests.tables import cases

PURCHASE = {"event_type": "OFF_AMAZON_PURCHASES", "event_name": "Order"}
MAID = "6d92078a-8246-4ba4-ae5b-76104861e7dc"
KEYS = [rule.field for rule in MATCH_KEYS]
MONEY = ["value", "currency", "units_sold", "event_id"]
OPTIONAL = sorted(CHECKS.keys() - set(MONEY) - {"limited_data_use"})
UNHASHED = [rule.field for rule in MATCH_KEYS if not rule.hashed]


def of_field(name: str, on_error: str | None = None) -> dict[str, Any]:
    """A purchase whose mapping reads `x` for one field, beside an email."""
    source = {"path": "x", **({} if on_error is None else {"on_error": on_error})}
    if name == "email":
        return document({**PURCHASE, "custom_data": None}, email=source, maid="maid")
    return document({**PURCHASE, "custom_data": None}, **{name: source})


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("value", [True, [], [1], {"a": 1}, "x" * 1025, "\ufffd\ud800"[:1] * 2000])
def test_a_match_key_costs_only_itself(name: str, value: Any) -> None:
    """Unless its source says that it rejects."""
    content = event(x=value, maid=MAID)
    accepted = converted(content, of_field(name))
    assert isinstance(accepted, Conversion)
    assert [why for _, why in accepted.dropped_keys] == ["too_long" if type(value) is str else "wrong_type"]
    assert warnings(content, of_field(name)) == [("match_key_dropped", "x")]
    assert warnings(content, of_field(name, "omit")) == [("match_key_dropped", "x")]
    outcome = refused(content, of_field(name, "reject"))
    assert (outcome.field, outcome.mapping_field) == ("x", name)
    assert outcome.reason == ("value_too_long" if isinstance(value, str) else "wrong_type")


def test_a_match_key_that_normalises_to_nothing_can_reject() -> None:
    """With a reason of its own; the detail says why, without the value."""
    outcome = refused(event(x="unknown", maid=MAID), of_field("email", "reject"))
    assert (outcome.reason, outcome.also) == ("match_key_invalid", ())
    assert outcome.detail == "Email is mapped to x, which gives no match key: not an email."


@pytest.mark.parametrize("name", MONEY)
def test_money_and_identity_reject_unless_the_source_omits_them(name: str) -> None:
    content = event(x={"a": 1})
    outcome = refused(content, of_field(name))
    assert (outcome.reason, outcome.field, outcome.mapping_field) == ("wrong_type", "x", name)
    assert refused(content, of_field(name, "reject")) == outcome
    assert warnings(content, of_field(name, "omit")) == [("field_omitted", "x")]


@pytest.mark.parametrize("name", OPTIONAL)
def test_other_fields_are_left_out_unless_the_source_rejects(name: str) -> None:
    content = event(x={"a": 1})
    for on_error in (None, "omit"):
        assert warnings(content, of_field(name, on_error)) == [("field_omitted", "x")]
    outcome = refused(content, of_field(name, "reject"))
    assert (outcome.reason, outcome.field, outcome.mapping_field) == ("wrong_type", "x", name)


@pytest.mark.parametrize("on_error", [None, "omit", "reject"])
def test_custom_data_is_left_out_unless_the_source_rejects(on_error: str | None) -> None:
    row = {"name": "a", "path": "x", **({} if on_error is None else {"on_error": on_error})}
    outcome = converted(event(x="a" * 257), document({"custom_data": [row]}))
    if on_error == "reject":
        assert isinstance(outcome, Rejection)
        assert (outcome.reason, outcome.mapping_field) == ("custom_data_invalid", "custom_data.a")
    else:
        assert isinstance(outcome, Conversion)
        assert [(warned.code, warned.field) for warned in outcome.warnings] == [("field_omitted", "x")]


def test_an_omitted_currency_takes_the_value_with_it() -> None:
    """An amount of an unknown currency would be reported in another one."""
    made = document(PURCHASE, value="v", currency={"path": "c", "on_error": "omit"}, units_sold="u")
    sent = amazon_event(event(v=5, c="US$", u=2), made)
    assert {"value", "currencyCode"}.isdisjoint(sent)
    assert sent["unitsSold"] == 2
    assert warnings(event(v=5, c="US$", u=2), made) == [("field_omitted", "v"), ("field_omitted", "c")]
    assert warnings(event(c="US$"), made) == [("field_omitted", "c")]
    assert amazon_event(event(v=5), made)["currencyCode"] == "USD"


def test_a_score_keeps_its_value_without_a_currency() -> None:
    """Currency is not sent with events that are no purchases."""
    made = document(value="v", currency={"path": "c", "on_error": "omit"})
    assert amazon_event(event(v=5, c="US$"), made)["value"] == 5


def test_an_omitted_event_id_is_derived() -> None:
    made = document(event_id={"path": "x", "on_error": "omit"})
    assert amazon_event(event(x=[1]), made)["eventId"] == amazon_event(event(), made)["eventId"]


PROBLEMS = document(
    {
        "event_type": {"path": "type"},
        "event_source": {"path": "source"},
        "country_code": {"path": "country"},
        "custom_data": [{"name": "a", "path": "custom", "on_error": "reject"}],
    },
    email={"path": "email", "on_error": "reject"},
    maid="maid",
    value="value",
    currency="currency",
    units_sold="units",
    event_id="order",
    user_agent={"path": "agent", "on_error": "reject"},
    limited_data_use="limited",
)
BAD = {
    "type": "CART", "source": "web", "country": "XX", "custom": [], "email": [1], "maid": MAID,
    "value": "much", "currency": "US$", "units": 0, "order": "ada@example.com", "agent": {},
    "limited": "perhaps",
}  # fmt: skip


def test_all_problems_are_named_in_their_order() -> None:
    """The first as the reason, nine more beside it, a field once."""
    outcome = refused(event(**BAD, event__timestamp="soon"), PROBLEMS)
    first = (outcome.reason, outcome.field, outcome.mapping_field)
    found = [first, *((each.reason, each.field, each.mapping_field) for each in outcome.also)]
    assert found == [
        ("event_type_invalid", "type", "event_type"),
        ("event_source_invalid", "source", "event_source"),
        ("country_invalid", "country", "country_code"),
        ("timestamp_invalid", "event.timestamp", "event_timestamp"),
        ("wrong_type", "value", "value"),
        ("currency_invalid", "currency", "currency"),
        ("units_invalid", "units", "units_sold"),
        ("event_id_personal", "order", "event_id"),
        ("wrong_type", "email", "email"),
        ("limited_data_use_invalid", "limited", "limited_data_use"),
    ]
    assert len(set(found)) == 10
    assert "ada" not in repr(outcome)


def test_the_rest_follows_where_fewer_come_before() -> None:
    """Other fields, then custom data; a pinned name is a problem among others."""
    bad = {name: BAD[name] for name in ("agent", "limited", "custom")}
    good = {"type": "LEAD", "source": "IOS", "country": "US", "maid": MAID}
    outcome = refused(event(**good, **bad), PROBLEMS, pins={"LEAD": "Lead"})
    assert [outcome.reason, *(each.reason for each in outcome.also)] == [
        "event_name_conflict",
        "limited_data_use_invalid",
        "wrong_type",
        "wrong_type",
    ]
    assert [each.mapping_field for each in outcome.also][1:] == ["user_agent", "custom_data.a"]


def test_an_event_without_consent_names_only_consent() -> None:
    """Whatever else is wrong with it, and though its country cannot be read."""
    made = {**PROBLEMS, "consent": {"mode": "amazon", "user_data": "c"}}
    for consent, region, reason in (
        ("no", Region.NA, "consent_denied"),
        (None, Region.EU, "consent_missing"),
    ):
        outcome = refused(event(**BAD, c=consent), made, region=region)
        assert (outcome.reason, outcome.also, outcome.basis) == (reason, (), "amazon")


FORMS = ["mail to <ada@example.com>", "ada%2540example.com", "call +49 (151) 12.34-5678 now", "tel:+1"]
NOT_PERSONAL = ["4915112345678", "a @ b", "SALE@50", "tel:", "+1234567", "100%", "+1234567890123456"]


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("name", [*UNHASHED, *OPTIONAL, "event_id", "custom_data"])
def test_no_value_in_clear_names_a_person(name: str, text: str) -> None:
    """One rule for every field; a source cannot overrule it."""
    for on_error in (None, "reject", "omit"):
        made = of_field(name, on_error) if name != "custom_data" else document(PURCHASE)
        if name == "custom_data":
            made["custom_data"] = [{"name": "a", "path": "x", **({"on_error": on_error} if on_error else {})}]
        outcome = converted(event(x=text), made)
        if name == "event_id":
            assert isinstance(outcome, Rejection)
            assert (outcome.reason, outcome.field) == ("event_id_personal", "x")
            continue
        if isinstance(outcome, Rejection):  # it has not even the form of the field
            assert on_error == "reject"
            assert outcome.reason in ("match_key_invalid", "ip_address_invalid", "measurement_token_invalid")
            continue
        warning = "field_omitted"
        if name in UNHASHED:
            warning = "match_key_dropped"
        if name == "custom_data":
            warning = "custom_value_dropped"
        assert [(warned.code, warned.field) for warned in outcome.warnings] == [(warning, "x")]
        assert outcome.body == converted(event(), made).body  # type: ignore[union-attr]


@pytest.mark.parametrize("text", NOT_PERSONAL)
def test_digits_and_signs_alone_are_no_person(text: str) -> None:
    made = document(user_agent="x", match_id="x", amazon_ad_event_key="x")
    made["custom_data"] = [{"name": "a", "path": "x"}]
    sent = amazon_event(event(x=text), made)
    assert (
        sent["deviceInfo"]["userAgent"] == sent["amazonAdEventKey"] == sent["customData"][0]["value"] == text
    )
    assert {"type": "MATCH_ID", "values": [text]} in sent["matchKeys"]


def test_the_work_of_a_request_is_bounded() -> None:
    """Each event charges what it took; the budget of the event itself bounds its own lists."""
    source = {"path": "list", "pipe": [["pluck", "n"], "sum"]}
    plan = ConversionPlan(compiled(document(value=source)), Rules(**RULES))
    work = Work()
    before = work.left
    content = event(list=[{"n": 1}] * 1_000)
    outcome = plan.convert(Event("e", "dst_1", "map_1", content), "e", NOW, work=work)
    assert isinstance(outcome, Conversion)
    assert 1_000 < before - work.left < 20_000
    long = event(list=[{"n": 1}] * 2_001)
    rejected = plan.convert(Event("e", "dst_1", "map_1", long), "e", NOW, work=work)
    assert isinstance(rejected, Rejection)
    assert (rejected.reason, rejected.mapping_field) == ("transform_failed", "value")


@cases(
    ("name", "source", "steps"),
    {
        "a name": ("first_name", {"path": "x"}, 2 + 8),
        "a state": ("state", {"path": "x"}, 2 + 12),
        "an address": ("address", {"path": "x"}, 2 + 30),
        "a first_of, whose members are all checked": (
            "city",
            {"first_of": [{"path": "x"}, {"path": "y"}]},
            2 * (2 + 8),
        ),
    },
)
def test_an_event_is_charged_for_its_sources_and_the_checks_of_its_match_keys(
    name: str, source: dict[str, Any], steps: int
) -> None:
    def charged(made: dict[str, Any]) -> int:
        work = Work()
        plan = ConversionPlan(compiled(made), Rules(**RULES))
        plan.convert(Event("e", "dst_1", "map_1", event()), "e", NOW, work=work)
        return MAX_WORK - work.left

    assert charged(document(**{name: source})) - charged(document()) == steps
