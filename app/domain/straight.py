"""The straight way through a conversion: most events, under most mappings, in half the time.

`convert` reads any event under any mapping, and says what is wrong with it. What is compiled here gives the
same conversion for an event with which nothing is wrong, and None for every other, which is `convert`'s. It
has no rule of its own: it calls the same readers, and a law in the tests holds the two to the same bytes.
What makes it fast is what it leaves out: all that is the same for every event of a mapping is written as JSON
once, at compile time, and what differs is put between, with no object made on the way.
"""

import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from app.domain import consent, values
from app.domain.consent import Mode
from app.domain.conversion import INGESTION, Conversion, Rules
from app.domain.countries import COUNTRIES
from app.domain.event import Event, amazon_event_id
from app.domain.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE
from app.domain.failures import Failed
from app.domain.identity.profiles import PROFILES
from app.domain.mapping import Mapping
from app.domain.reading import Warned
from app.domain.timestamps import EARLY_LIMIT, read_time

# The finished conversion, or None for an event that takes the long way. Arguments: event, its id, now.
Straight = Callable[[Event, str, datetime], Conversion | None]

_NEEDS_NO_ESCAPE: Final = re.compile(r"[A-Za-z0-9 ._:-]*", re.ASCII).fullmatch
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_SHORTER_THAN_A_DIGEST: Final = 64  # a longer trait may be a digest already, or too long
_PLAIN_FIELDS: Final = frozenset({"value"})
_PURCHASE_FIELDS: Final = frozenset({"value", "currency", "units_sold"})


def compile_straight(mapping: Mapping, rules: Rules) -> Straight | None:
    """Compile the straight way for a mapping of a destination, or return None where it has none.

    It has one when type, source and consent are the same for all events, the name is the pinned one, and of
    the fields that are no match keys only value, and for purchases currency and units, are mapped.
    """
    event_type, event_source = mapping.event_type.const, mapping.event_source.const
    purchase = event_type == PURCHASE
    if (
        event_type not in EVENT_TYPES
        or event_source not in EVENT_SOURCES
        or rules.pins.get(event_type, mapping.event_name) != mapping.event_name
        or mapping.consent.mode is not Mode.GRANTED
        or not mapping.fields.keys() <= (_PURCHASE_FIELDS if purchase else _PLAIN_FIELDS)
    ):
        return None

    event_name = mapping.event_name
    description = {
        "name": event_name,
        "conversionType": event_type,
        "eventSource": event_source,
        "eventIngestionMethod": INGESTION,
    }
    if rules.dataset_name:
        description["dataSetName"] = rules.dataset_name
    opening = _opening({"eventDescription": description}, "countryCode") + '"'
    signal = f',"consent":{_text(dict(consent.GRANTED_PAIR))}'
    read_country, read_timestamp = mapping.country.read, mapping.timestamp.read
    recent = min(rules.warn_age, rules.max_age)
    id_scope = amazon_event_id(rules.destination_id, rules.mapping_id, event_type, "")
    write_keys = _key_writer(mapping, rules)
    write_price = _price_writer(mapping, rules, purchase=purchase)
    write_custom = _custom_writer(mapping)

    window: tuple[datetime, datetime, datetime] | None = None

    def straight(event: Event, event_id: str, now: datetime) -> Conversion | None:
        content = event.content
        country = read_country(content)
        if type(country) is not str or country not in COUNTRIES:
            return None
        time_text = read_timestamp(content)
        moment = read_time(time_text) if type(time_text) is str else None
        nonlocal window
        if window is None or now is not window[0]:  # the same for all events of a post
            window = now, now - recent, now + EARLY_LIMIT
        if moment is None or not window[1] <= moment.at <= window[2]:
            return None
        kinds: list[str] = []
        warnings: list[Warned] = []
        keys = write_keys(content, country, kinds)
        price = write_price(content)
        custom = write_custom(content, warnings)
        if not keys or price is None or custom is None:
            return None
        amazon_id = id_scope + event_id
        body = (
            f'{opening}{country}","eventTime":"{moment.text}","matchKeys":[{keys}]{price},'
            f'"eventId":{_text(amazon_id)}{signal}{custom}}}'
        )
        return Conversion(
            event_id,
            amazon_id,
            event_type,
            event_name,
            moment.at,
            body.encode(),
            tuple(kinds),
            tuple(warnings),
        )

    return straight


def _key_writer(mapping: Mapping, rules: Rules) -> Callable[[dict[str, Any], str, list[str]], str | None]:
    """Make the writer of the match keys; it notes the kinds it wrote, and gives None for the long way."""
    keys = [
        (
            key.source.read,
            PROFILES[rules.profile][key.rule.type].clean,
            key.rule.hashed,
            key.wire_type,
            f'{{"type":"{key.wire_type}","values":[',
        )
        for key in mapping.match_keys
    ]

    def write(content: dict[str, Any], country: str, kinds: list[str]) -> str | None:
        written = []
        for read, clean, hashed, kind, opening in keys:
            trait = read(content)
            if trait is None:
                continue
            if type(trait) is not str or len(trait) >= _SHORTER_THAN_A_DIGEST:
                return None
            cleaned = clean(trait, country)
            if type(cleaned) is not str:
                return None
            if hashed:
                written.append(f'{opening}"{sha256(cleaned.encode()).hexdigest()}"]}}')
            elif "@" in cleaned:
                return None
            else:
                written.append(f"{opening}{_text(cleaned)}]}}")
            kinds.append(kind)
        return ",".join(written)

    return write


def _price_writer(
    mapping: Mapping, rules: Rules, *, purchase: bool
) -> Callable[[dict[str, Any]], str | None]:
    """Make the writer of value, currency and units: their members as JSON, None for the long way."""
    value, currency, units = (mapping.fields.get(name) for name in ("value", "currency", "units_sold"))
    own_currency = f',"currencyCode":"{rules.currency}"' if purchase else ""

    def write(content: dict[str, Any]) -> str | None:
        written, read = "", None
        if value is not None and (raw := value.read(content)) is not None:
            read = raw if type(raw) is Failed else values.read_value(raw, purchase=purchase)
            if type(read) is Failed or read != raw:
                return None
            written = f',"value":{_text(read)}'
        if currency is not None and (raw := currency.read(content)) is not None:
            code = raw if type(raw) is Failed else values.read_currency(raw)
            if type(code) is Failed:
                return None
            written += f',"currencyCode":"{code}"'
        else:
            written += own_currency
        if units is not None and (raw := units.read(content)) is not None:
            number = raw if type(raw) is Failed else values.read_units(raw)
            if type(number) is Failed:
                return None
            written += f',"unitsSold":{number}'
        return written

    return write


def _custom_writer(mapping: Mapping) -> Callable[[dict[str, Any], list[Warned]], str | None]:
    """Make the writer of custom data, its member as JSON; it adds to warnings, None for the long way."""
    rows = [(row.source.read, _opening({"name": row.name}, "value"), row) for row in mapping.custom_data]

    def write(content: dict[str, Any], warnings: list[Warned]) -> str | None:
        written = []
        for read, opening, row in rows:
            value = read(content)
            if values.is_usual(value):
                written.append(f'{opening}"{value}"}}')  # letters, digits and underscores need no escape
            elif value is not None:
                text = value if type(value) is Failed else values.read_custom(value)
                if type(text) is Failed:
                    return None
                if not values.is_usual(text):
                    warnings.append(Warned("custom_value_unusual", row.source.path or row.field))
                written.append(f"{opening}{_text(text)}}}")
        return f',"customData":[{",".join(written)}]' if written else ""

    return write


def _opening(members: dict[str, Any], last: str) -> str:
    """Write an object up to the value of its last member."""
    return f'{_text(members)[:-1]},"{last}":'


def _text(value: Any) -> str:
    if type(value) is str and _NEEDS_NO_ESCAPE(value):
        return f'"{value}"'
    return _JSON.encode(value).decode()
