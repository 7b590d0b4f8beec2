"""The fast path: convert ordinary events under ordinary mappings in half the time.

`convert` handles every event and every mapping. The function that is compiled here handles only events
without problems, and returns None for all others. A property test requires the same bytes from both. It is
faster for two reasons. JSON that all events of a mapping share is written at compile time. The complete
conversion is one generated function without a call per field (`app.domain.conversion.codegen`).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec

from app.domain.conversion import consent, values
from app.domain.conversion.codegen import FunctionBuilder
from app.domain.conversion.consent import Mode
from app.domain.conversion.convert import INGESTION, Conversion, Rules
from app.domain.conversion.countries import COUNTRIES
from app.domain.conversion.currencies import WITHOUT_DECIMALS
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, PURCHASE, PURCHASE_ONLY
from app.domain.conversion.failures import SourceFailed
from app.domain.conversion.field_reader import EventWarning
from app.domain.conversion.timestamps import EARLY_LIMIT, read_time
from app.domain.event import Event, amazon_event_id
from app.domain.identity import Profile
from app.domain.identity.profiles import PROFILES
from app.domain.mapping.document import CustomField, KeyField, Mapping
from app.domain.mapping.reading import Reading
from app.domain.mapping.sources import Source, unchecked

# Arguments: event, event id, now. Returns None for an event that `convert` must handle.
FastPath = Callable[[Event, str, datetime], Conversion | None]

_NEEDS_NO_ESCAPE: Final = re.compile(r"[A-Za-z0-9 ._:-]*", re.ASCII).fullmatch
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_SHORTER_THAN_A_DIGEST: Final = 64  # a text as long as a SHA-256 digest may be one, or be too long
_PLAIN_FIELDS: Final = frozenset({"value"})
_PURCHASE_FIELDS: Final = _PLAIN_FIELDS | PURCHASE_ONLY.keys()


def compile_fast_path(mapping: Mapping, rules: Rules) -> FastPath | None:
    """Compile the fast path for a mapping of a destination, or return None if `convert` must handle it.

    The mapping must set the same event type, source and consent for all events, and must not conflict with a
    pinned name. It may map match keys, custom data and value, and for purchases also currency and units.
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
    description = {
        "name": mapping.event_name,
        "conversionType": event_type,
        "eventSource": event_source,
        "eventIngestionMethod": INGESTION,
    }
    if rules.dataset_name:
        description["dataSetName"] = rules.dataset_name

    code = FunctionBuilder("fast_path", "event", "event_id", "now")
    code.add("content = event.content")
    _write_country(code, mapping.country)
    _write_moment(code, mapping.timestamp, rules)
    keys = [_write_key(code, key, rules.profile) for key in mapping.match_keys]
    code.add(
        f"if not ({' or '.join(keys)}): return None",
        f"price = {code.name(_price_writer(mapping, rules, purchase=purchase))}(content)",
        "if price is None: return None",
        "warnings = []",
    )
    rows = [_write_row(code, row) for row in mapping.custom_data]
    kinds = code.name(tuple(key.wire_type for key in mapping.match_keys))
    opening = code.name(_opening({"eventDescription": description}, "countryCode") + '"')
    signal = code.name(f',"consent":{_text(dict(consent.GRANTED_PAIR))}')
    scope = code.name(amazon_event_id(rules.destination_id, rules.mapping_id, event_type, ""))
    code.add(
        # Each variable of `keys` and `rows` holds an empty text, or JSON that begins with a comma.
        f"keys, rows = f'{_texts(keys)}'[1:], f'{_texts(rows)}'[1:]",
        "custom = f',{CUSTOM}{rows}]' if rows else ''",
        f"kinds = {kinds} if {' and '.join(keys)} else {code.name(_present)}({kinds}, ({', '.join(keys)},))",
        f"amazon_id = {scope} + event_id",
        f"body = (f'{{{opening}}}{{country}}{{TIME}}{{moment.text}}{{KEYS}}{{keys}}]{{price}}'",
        f"        f'{{ID}}{{text(amazon_id)}}{{{signal}}}{{custom}}}}}}')",
        f"return Conversion(event_id, amazon_id, {code.name(event_type)}, {code.name(mapping.event_name)},",
        "                  moment.at, body.encode(), kinds, tuple(warnings))",
    )
    fast_path: FastPath = code.compile(
        CUSTOM='"customData":[',
        TIME='","eventTime":"',
        KEYS='","matchKeys":[',
        ID=',"eventId":',
        text=_text,
        Conversion=Conversion,
        COUNTRIES=COUNTRIES,
        read_time=read_time,
        sha256=sha256,
        is_plain=values.is_plain,
    )
    return fast_path


def _texts(variables: list[str]) -> str:
    """Return the part of an f-string that joins the values of these variables."""
    return "".join(f"{{{variable}}}" for variable in variables)


def _write_country(code: FunctionBuilder, source: Source) -> None:
    country = code.read(source)
    code.add(f"country = {country}", "if type(country) is not str or country not in COUNTRIES: return None")


def _write_moment(code: FunctionBuilder, source: Source, rules: Rules) -> None:
    time, window = code.read(source), code.name(_Window(min(rules.warn_age, rules.max_age)))
    code.add(
        f"moment = read_time({time}) if type({time}) is str else None",
        f"if moment is None or not {window}.holds(moment.at, now): return None",
    )


def _write_key(code: FunctionBuilder, key: KeyField, profile: Profile) -> str:
    """Add the lines for one match key. Return the variable of its JSON: an empty text if it is absent."""
    trait = code.read(key.source)
    clean = code.name(PROFILES[profile][key.rule.type].clean)
    opening = code.name(f',{{"type":"{key.wire_type}","values":[')
    written = f"f'{{{opening}}}\"{{sha256(cleaned.encode()).hexdigest()}}\"]}}}}'"
    if not key.rule.hashed:
        written = f"f'{{{opening}}}{{text(cleaned)}}]}}}}'"
    json_text = code.variable()
    code.add(
        f"if {trait} is None: {json_text} = ''",
        "else:",
        f"    if type({trait}) is not str or len({trait}) >= {_SHORTER_THAN_A_DIGEST}: return None",
        f"    cleaned = {clean}({trait}, country)",
        "    if type(cleaned) is not str: return None",
        *([] if key.rule.hashed else ["    if '@' in cleaned: return None"]),
        f"    {json_text} = {written}",
    )
    return json_text


def _write_row(code: FunctionBuilder, row: CustomField) -> str:
    """Add the lines for one custom field. Return the variable of its JSON: an empty text if it is absent."""
    value, json_text = code.read(row.source), code.variable()
    opening = "," + _opening({"name": row.name}, "value")
    code.add(
        f"if is_plain({value}): {json_text} = f'{{{code.name(opening)}}}\"{{{value}}}\"}}}}'",
        f"elif {value} is None: {json_text} = ''",
        "else:",
        f"    {json_text} = {code.name(partial(_unusual_row, row, opening))}(content, warnings)",
        f"    if {json_text} is None: return None",
    )
    return json_text


def _unusual_row(
    row: CustomField, opening: str, content: dict[str, Any], warnings: list[EventWarning]
) -> str | None:
    """Return the JSON of a custom value that is not a plain text, or None if `convert` must handle it."""
    found = row.source.read(content, Reading(), unchecked)
    if found is None:
        return ""
    text = found if type(found) is SourceFailed else values.read_custom(found)
    if text is None or type(text) is SourceFailed:
        return None
    if not values.is_plain(text):
        warnings.append(EventWarning("custom_value_unusual", row.source.path or row.field))
    return f"{opening}{_text(text)}}}"


class _Window:
    """The range of times of an event without problems, computed once for all events of a request."""

    def __init__(self, recent: timedelta) -> None:
        self._recent = recent
        self._now = self._first = self._last = datetime.min.replace(tzinfo=UTC)

    def holds(self, time: datetime, now: datetime) -> bool:
        if now is not self._now:
            self._now, self._first, self._last = now, now - self._recent, now + EARLY_LIMIT
        return self._first <= time <= self._last


def _present(kinds: tuple[str, ...], texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([kind for kind, text in zip(kinds, texts, strict=True) if text])


def _price_writer(
    mapping: Mapping, rules: Rules, *, purchase: bool
) -> Callable[[dict[str, Any]], str | None]:
    """Return a function from an event's content to the JSON of value, currency and units.

    The function returns None for an event that `convert` must handle.
    """
    value, currency, units = (mapping.fields.get(name) for name in ("value", "currency", "units_sold"))
    own_currency = f',"currencyCode":"{rules.currency}"' if purchase else ""

    def write(content: dict[str, Any]) -> str | None:
        written, read, amount_currency = "", None, rules.currency
        if value is not None and (raw := value.read(content, Reading(), unchecked)) is not None:
            read = raw if type(raw) is SourceFailed else values.read_value(raw, purchase=purchase)
            if type(read) is SourceFailed or read != raw:
                return None
            written = f',"value":{_text(read)}'
        if currency is not None and (raw := currency.read(content, Reading(), unchecked)) is not None:
            code = raw if type(raw) is SourceFailed else values.read_currency(raw)
            if isinstance(code, SourceFailed):
                return None
            amount_currency = code
            written += f',"currencyCode":"{code}"'
        else:
            written += own_currency
        if purchase and amount_currency in WITHOUT_DECIMALS and not values.is_integral(read):
            return None
        if units is not None and (raw := units.read(content, Reading(), unchecked)) is not None:
            number = raw if type(raw) is SourceFailed else values.read_units(raw)
            if type(number) is SourceFailed:
                return None
            written += f',"unitsSold":{number}'
        return written

    return write


def _opening(members: dict[str, Any], last: str) -> str:
    """Return the JSON of an object with `members` and `last`, up to the value of `last`."""
    return f'{_text(members)[:-1]},"{last}":'


def _text(value: Any) -> str:
    if type(value) is str and _NEEDS_NO_ESCAPE(value):
        return f'"{value}"'
    return _JSON.encode(value).decode()
