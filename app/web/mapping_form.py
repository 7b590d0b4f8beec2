"""The form of a mapping document as the API describes it, and hints on one that is right but looks odd."""

from typing import Any

from app.domain.catalogue import Catalogue, doubts
from app.domain.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.mapping import NAMING_TRAITS
from app.domain.paths import last_name, parse_path
from app.store.mappings import Document
from app.web.schemas import name_word

_PIPES = (
    "trim lower upper digits slug title first last join split substring replace map round abs to_number "
    "to_string to_bool epoch_s epoch_ms date sha256_lower"
)

_SOURCE: dict[str, Any] = {
    "description": (
        'A source: `{"const": …}` or `{"path": "a.b[0].c", "pipe": […], "default": …}`, or a bare string. '
        f"Functions of a pipe: {_PIPES}."
    ),
    "anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["const"], "properties": {"const": {}}},
        {
            "type": "object",
            "required": ["path"],
            "properties": {"path": {"type": "string"}, "pipe": {"type": "array", "items": {}}, "default": {}},
        },
    ],
}


def _choice(values: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "enum": values}, *_SOURCE["anyOf"][1:]]}


EXAMPLE: dict[str, Any] = {
    "name": "Cart",
    "action": "send_events",
    "event_type": "ADD_TO_SHOPPING_CART",
    "event_source": "WEBSITE",
    "event_name": "Added to cart",
    "country_code": {"path": "user.country", "default": "US"},
    "fields": {"event_timestamp": {"path": "event.timestamp"}, "email": {"path": "user.email"}},
    "custom_data": [{"name": "brand", "path": "event.properties.brand"}],
    "consent": {"mode": "granted"},
}

DOCUMENT_SCHEMA: dict[str, Any] = {
    "title": "MappingDocument",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "action": {"type": "string", "const": "send_events"},
        "event_type": _choice(list(EVENT_TYPES)),
        "event_source": _choice(list(EVENT_SOURCES)),
        "event_name": {"type": "string", "minLength": 1, "maxLength": 256},
        "country_code": _SOURCE,
        "fields": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {**_SOURCE, "description": f"{field.label}. {field.help}"}
                for name, field in FIELDS.items()
            },
        },
        "custom_data": {"type": "array", "maxItems": 13, "items": _SOURCE},
        "consent": {
            "type": "object",
            "required": ["mode"],
            "properties": {
                "mode": {"type": "string", "enum": ["granted", "amazon", "tcf", "gpp", "none"]},
                "user_data": _SOURCE,
                "ad_storage": _SOURCE,
                "string": _SOURCE,
            },
        },
    },
    "example": EXAMPLE,
}


def name_problem(name: Any) -> str | None:
    """Return the word for what is wrong with a mapping's name, or None."""
    if name is None:
        return "missing"
    if not isinstance(name, str):
        return "not_a_string"
    return name_word(name)


def hints(document: Document, catalogue: Catalogue | None = None) -> list[dict[str, str]]:
    """Return what looks odd about a draft: no rule is broken, so nothing is refused, but most are slips.

    A match key whose path names another field, such as email from `user.maid`; custom data whose path names
    what a person is known by; and, where a catalogue is given, paths that no recent event had or that held
    another type.
    """
    odd = []
    fields, rows = document.get("fields"), document.get("custom_data")
    for name, source in fields.items() if isinstance(fields, dict) else ():
        word = _last_word(source)
        if name in MATCH_KEY_FIELDS and word in FIELDS and word != name:
            odd.append({"code": "path_names_another_field", "field": f"fields.{name}"})
    for place, row in enumerate(rows if isinstance(rows, list) else ()):
        hashed = isinstance(row, dict) and "sha256_lower" in (row.get("pipe") or ())
        if _last_word(row) in NAMING_TRAITS and not hashed:
            odd.append({"code": "custom_data_personal", "field": f"custom_data[{place}]"})
    return odd + _doubted(document, catalogue)


def _last_word(source: Any) -> str | None:
    path = source.get("path") if isinstance(source, dict) else source
    return last_name(parse_path(path) or ()) if isinstance(path, str) else None


def _doubted(document: Document, catalogue: Catalogue | None) -> list[dict[str, str]]:
    if catalogue is None:
        return []
    return [{"code": doubt.code, "field": doubt.field} for doubt in doubts(document, catalogue)]
