"""The members of the Amazon event that a plan writes: money, match keys, custom data and the optional ones.

Each reads its fields with the steps of `steps.py`, and returns its piece of JSON.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Final

from app.domain.conversion import values
from app.domain.conversion.amazon_codes import PURCHASE_ONLY, WITHOUT_DECIMALS
from app.domain.conversion.numbers import as_integer, rounded
from app.domain.conversion.results import EventWarning
from app.domain.conversion.steps import Fields, FieldStep, Run
from app.domain.identity.keys import MATCH_KEYS, MatchKey, Profile
from app.domain.identity.profiles import PROFILES
from app.domain.mapping.document import CustomField
from app.domain.mapping.reading import SHORT_TEXT, SourceFailed
from app.domain.mapping.sources import unchecked
from app.domain.privacy.personal_text import holds_personal_text
from app.domain.strict_json import json_text

_SAFE_LENGTH: Final = len(str(values.MAX_VALUE))  # a shorter number is within the limits
_WITHOUT_CURRENCY: Final = SourceFailed("currency_invalid", "has no currency that can be read")

OPTIONAL_FIELDS: Final = frozenset({"ip_address", *values.OPTIONAL_MEMBERS})

# The members of the Amazon event, and of objects in it, that have their value from one field of the mapping.
FIELDS_OF_MEMBERS: Final[Mapping[str, str]] = {
    "countryCode": "country_code",
    "eventTime": "event_timestamp",
    "value": "value",
    "currencyCode": "currency",
    "unitsSold": "units_sold",
    "eventId": "event_id",
    **{member.opening.split('"')[1]: name for name, member in values.OPTIONAL_MEMBERS.items()},
}


class Money:
    """Writes `value`, `currencyCode` and `unitsSold`. The last two are sent with purchases only."""

    def __init__(self, fields: Fields, currency: str) -> None:
        """`currency` is the destination's, for purchases without one (R5)."""
        self._default = currency
        step = partial(fields.step, rejects=True)
        self._amount, self._price = step("value", values.check_amount), step("value", values.check_price)
        self._currency, self._units = (step(name, values.CHECKS[name]) for name in PURCHASE_ONLY)
        self._has_others = not PURCHASE_ONLY.keys().isdisjoint(fields.sources)

    def write(self, run: Run, *, purchase: bool) -> str:
        """Return the JSON, which begins with a comma if it is not empty."""
        step = self._price if purchase else self._amount
        if not self._has_others:
            if not purchase and run.trace is None:
                number = run.objects[step.object].get(step.member)
                # The usual case: an amount with two decimals that is not zero, or a whole number.
                if (type(number) is Decimal and number) or type(number) is int:
                    text = str(number)
                    if len(text) < _SAFE_LENGTH and (type(number) is int or text[-3:-2] == "."):
                        return f',"value":{text}'
            amount = self._read_amount(run, step, has_currency=True)
            text = "" if amount is None else f',"value":{amount!s}'
            return text + self._currency_code(run, self._default, amount) if purchase else text
        currency = self._currency.get(run)
        notes = run.notes.copy()
        run.notes.clear()
        # An amount of an unknown currency says nothing. A score has no currency.
        is_lost = purchase and isinstance(currency, SourceFailed) and not self._currency.rejects
        amount = self._read_amount(run, step, has_currency=not is_lost)
        text = "" if amount is None else f',"value":{amount!s}'
        run.notes += notes
        currency = self._currency.settle(run, currency)
        units = self._units.value(run)
        if not purchase:
            for step, value in ((self._currency, currency), (self._units, units)):
                if value is not None:
                    run.warnings.append(EventWarning(PURCHASE_ONLY[step.name], step.place))
            return text
        if not is_lost:
            text += self._currency_code(run, currency or self._default, amount)
        return text if units is None else f'{text},"unitsSold":{units}'

    def _currency_code(self, run: Run, code: str, amount: int | Decimal | None) -> str:
        if code in WITHOUT_DECIMALS and type(as_integer(amount)) is Decimal:
            run.warnings.append(EventWarning("value_unusual", self._price.place))
        return f',"currencyCode":"{code}"'

    @staticmethod
    def _read_amount(run: Run, step: FieldStep, *, has_currency: bool) -> int | Decimal | None:
        """Read the value, rounded to hundredths. A price whose currency is left out is left out too."""
        amount = step.get(run)
        if amount is None or isinstance(amount, SourceFailed):
            step.settle(run, amount)
            return None
        if not has_currency:
            step.settle(run, _WITHOUT_CURRENCY, rejects=False)
            return None
        exact = rounded(amount, 2) or 0  # avoids minus zero
        if exact != amount or run.notes or run.trace is not None:
            step.settle(run, exact, warnings=("value_rounded",) if exact != amount else ())
        return exact


class MatchKeys:
    """Writes the members of `matchKeys`, hashed where Amazon requires it."""

    def __init__(self, fields: Fields, profile: Profile, *, refuses_digests: bool) -> None:
        self._check = partial(values.key_check, profile, refuses_digests=refuses_digests)
        # For each match key its place in the event, the function that normalises a trait, whether it is
        # hashed, the JSON before its value, its rule and its step.
        self._rows = []
        for rule in MATCH_KEYS:
            if rule.field in fields.sources:
                name, clean = rule.type.value, PROFILES[profile][rule.type].clean
                step = fields.step(rule.field, unchecked, rejects=False, shows=False, wire_type=name)
                opening = f'{{"type":"{name}","values":['
                self._rows.append((step.object, step.member, clean, rule.hashed, opening, rule, step))
        self._types = tuple(rule.type.value for *_, rule, _ in self._rows)

    def write(self, run: Run, country: str) -> tuple[tuple[str, ...], str]:
        """Return the types of the match keys, and their JSON. Reject an event without a match key (R2)."""
        texts: list[str] = []
        left_out: list[str] = []
        objects = run.objects
        for number, member, clean, is_hashed, opening, rule, step in self._rows:
            trait = objects[number].get(member)
            # The usual case: a text that is shorter than a digest.
            if type(trait) is str and len(trait) < SHORT_TEXT and trait.isascii():
                cleaned = clean(trait, country)
                if type(cleaned) is str:
                    if is_hashed:
                        texts.append(f'{opening}"{sha256(cleaned.encode()).hexdigest()}"]}}')
                        continue
                    if not holds_personal_text(cleaned):
                        texts.append(f"{opening}{json_text(cleaned)}]}}")
                        continue
            key = step.read(run.content, run, self._check(rule, country))
            if type(key) is not MatchKey or run.notes or run.trace is not None:
                name = key.rule if isinstance(key, MatchKey) else None
                result = f"sha256:{key.value[:8]}…" if name and is_hashed else None
                key = step.settle(run, key, rule=name, result=result)
                if key is None:
                    left_out.append(rule.type.value)
                    continue
            texts.append(f"{opening}{json_text(key.value)}]}}")
        if not texts:
            reasons: dict[str | None, str] = {each.mapping_field: each.reason for each in run.problems}
            reasons.update(run.dropped)
            causes = [
                f"{rule.field} is {reasons.get(rule.type.value) or reasons.get(rule.field, 'absent')}"
                for *_, rule, _ in self._rows
            ]
            run.add_problem("no_match_key", None, None, f"No match key is left: {', '.join(causes)}.")
        types = tuple(each for each in self._types if each not in left_out) if left_out else self._types
        return types, ",".join(texts)


class CustomData:
    """Writes `customData`, without absent fields (P10)."""

    def __init__(self, rows: Sequence[CustomField], fields: Fields) -> None:
        self._rows = []
        for row in rows:
            step = FieldStep(row.field, row.source, values.check_custom, fields, rejects=False)
            self._rows.append((step, step.object, step.member, f'{{"name":"{row.name}","value":'))

    def write(self, run: Run) -> str:
        """Return the JSON, which begins with a comma if it is not empty."""
        texts = []
        objects = run.objects
        for step, number, member, opening in self._rows:
            text = objects[number].get(member)
            # The usual case, mostly without a regular expression.
            if (
                type(text) is str
                and len(text) <= SHORT_TEXT
                and text.isascii()
                and (text.isidentifier() or text.isalnum() or values.is_plain(text))
            ):
                texts.append(f'{opening}"{text}"}}')
                continue
            text = step.get(run)
            is_unusual = isinstance(text, str) and not values.is_plain(text)
            text = step.settle(run, text, warnings=("custom_value_unusual",) if is_unusual else ())
            if text is not None:
                texts.append(f"{opening}{json_text(text)}}}")
        return f',"customData":[{",".join(texts)}]' if texts else ""


class OptionalMembers:
    """Writes the members that Amazon needs for no event, except the IP address."""

    def __init__(self, fields: Fields) -> None:
        self._steps = []
        for name, member in values.OPTIONAL_MEMBERS.items():
            if name in fields.sources:
                step = fields.step(name, member.check, rejects=name == "limited_data_use")
                self._steps.append((step, member.opening, member.closing, member.precedes))

    def write(self, run: Run) -> tuple[str, str]:
        """Return the JSON before and after the custom data."""
        before = after = ""
        for step, opening, closing, precedes in self._steps:
            value = step.value(run)
            if value is None or value is False:
                continue
            text = opening if value is True else f"{opening}{json_text(value)}{closing}"
            before, after = (before + text, after) if precedes else (before, after + text)
        return before, after
