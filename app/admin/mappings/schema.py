"""Mapping documents: JSON schema, refusals of invalid documents, warnings about likely mistakes."""

from collections.abc import Sequence
from typing import Any

from app.admin import ErrorCode, FieldProblem, Refusal, field_problem_of
from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES
from app.domain.destination import Region
from app.domain.mapping.document import FIELDS, PREHASHED, Mapping, compile_mapping
from app.domain.mapping.lint import LintWarning, lint
from app.domain.mapping.paths import MAX_PATH_LENGTH
from app.domain.mapping.pipes import MAX_PIPE_STEPS, PIPES
from app.domain.mapping.presets import EXAMPLE_MAPPING
from app.domain.mapping.sources import MAX_MEMBERS, MappingProblem
from app.domain.mapping.templates import MAX_TEMPLATE_LENGTH
from app.domain.observed.event_schema import EventSchema, SchemaMismatch, schema_mismatches
from app.store.mappings import Document

_PIPE = {"type": "array", "maxItems": MAX_PIPE_STEPS, "items": {}}
_CONSTANT: dict[str, Any] = {"type": "object", "required": ["const"], "properties": {"const": {}}}


def _reading(kind: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the schema of a source that reads the event in one way."""
    return {"type": "object", "required": [kind], "properties": {kind: schema, "pipe": _PIPE, **more}}


_PATH = {"type": "string", "maxLength": MAX_PATH_LENGTH}
_TEMPLATE = {"type": "string", "maxLength": MAX_TEMPLATE_LENGTH}
_MEMBERS: dict[str, Any] = {
    "type": "array",
    "minItems": 2,
    "maxItems": MAX_MEMBERS,
    "items": {
        "anyOf": [{"type": "string"}, _CONSTANT, _reading("path", _PATH), _reading("template", _TEMPLATE)]
    },
}
_WITH = {"default": {}, "on_error": {"enum": ["omit", "reject", None]}}
_SOURCE: dict[str, Any] = {
    "description": (
        'A source: `{"const": …}`, `{"path": "a.b[0].c"}`, `{"template": "{a.b}-{c | lower}"}`, '
        '`{"first_of": […]}`, or a bare string. All but `const` take `pipe`, `default` and `on_error`. '
        f"Functions of a pipe: {' '.join(PIPES)}."
    ),
    "anyOf": [
        {"type": "string"},
        _CONSTANT,
        _reading("path", _PATH, **_WITH),
        _reading("template", _TEMPLATE, **_WITH),
        _reading("first_of", _MEMBERS, **_WITH),
    ],
}

# A custom data field is a source with a name; a bare string is a path that ends with the name.
_CUSTOM = [
    _SOURCE["anyOf"][0],
    *(
        {**form, "properties": {"name": {"type": "string"}, **form["properties"]}}
        for form in _SOURCE["anyOf"][1:]
    ),
]


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that also allows null. Null counts as absent; only the name of a draft is required."""
    about = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [{k: v for k, v in schema.items() if k not in about}, {"type": "null"}], **about}


def _choice(values: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "enum": values}, *_SOURCE["anyOf"][1:]]}


DOCUMENT_SCHEMA: dict[str, Any] = {
    "title": "MappingDocument",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "action": _or_null({"type": "string", "const": "send_events"}),
        "event_type": _or_null(_choice(list(EVENT_TYPES))),
        "event_source": _or_null(_choice(list(EVENT_SOURCES))),
        "event_name": _or_null({"anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, _CONSTANT]}),
        "country_code": _or_null(_SOURCE),
        "fields": _or_null(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: _or_null({**_SOURCE, "description": f"{field.label}. {field.help}"})
                    for name, field in FIELDS.items()
                },
            }
        ),
        "custom_data": _or_null({"type": "array", "maxItems": 13, "items": {"anyOf": _CUSTOM}}),
        "consent": _or_null(
            {
                "type": "object",
                "required": ["mode"],
                "properties": {
                    "mode": {"type": "string", "enum": ["granted", "amazon", "tcf", "gpp", "none"]},
                    "user_data": _or_null(_SOURCE),
                    "ad_storage": _or_null(_SOURCE),
                    "string": _or_null(_SOURCE),
                },
            }
        ),
        "prehashed": _or_null(
            {
                "type": "string",
                "enum": list(PREHASHED),
                "description": "What is known of match keys that come hashed; `refuse` drops them.",
            }
        ),
    },
    "example": EXAMPLE_MAPPING,
}


def draft_warnings(
    document: Document, region: Region, schema: EventSchema | None
) -> list[LintWarning | SchemaMismatch]:
    """Return the lint warnings of a valid draft and, with an event schema, its mismatches with the schema."""
    return [*lint(document, region), *(schema_mismatches(document, schema) if schema else ())]


def refusal_of_document(code: ErrorCode, problems: Sequence[MappingProblem], *, parent: str = "") -> Refusal:
    """Return the refusal of an invalid mapping document, with a field problem for each problem.

    `parent` is the path of the document in the request body; empty if it is the body.
    """
    sentences = " ".join(
        dict.fromkeys(f"{problem.path or 'mapping'}: {problem.sentence}" for problem in problems)
    )
    fields = (
        FieldProblem(
            ".".join(part for part in (parent, problem.path) if part) or "body",
            field_problem_of(problem.problem),
        )
        for problem in problems
    )
    return Refusal(code, sentences, *fields)


def compile_or_refuse(document: Document, *, parent: str = "", is_published: bool = False) -> Mapping:
    """Compile a document. Raises Refusal (422) with all its problems.

    `parent` is the path of the document in the request body, empty if the document is stored.
    """
    compiled = compile_mapping(dict(document), is_published=is_published)
    if isinstance(compiled, Mapping):
        return compiled
    code = ErrorCode.INVALID if parent else ErrorCode.NOT_PUBLISHABLE
    raise refusal_of_document(code, compiled, parent=parent)


def compiled_or_none(document: Document) -> Mapping | None:
    """Return the compiled document, or None if the document is invalid."""
    compiled = compile_mapping(dict(document), is_published=True)
    return compiled if isinstance(compiled, Mapping) else None
