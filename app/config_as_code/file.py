"""The configuration file: its members, which include no secrets, and how its text is parsed.

YAML 1.1 reads `NO` as false, `1:30` as 90 and `2026-01-02` as a date. Here everything except true, false,
null and plain numbers is a text. Duplicate keys are refused, because YAML keeps only the last of them.
Aliases are refused, because a few lines with aliases can expand into gigabytes.
"""

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from app.admin import Refusal
from app.admin.destinations.settings import NewDestination
from app.admin.field_problems import OWN_WORDS, path_of
from app.admin.incidents import AlertingInput, NotificationPreference
from app.admin.inputs import RequestBody, name_problem_code, validation_error
from app.admin.mappings.mappings import valid_draft
from app.admin.mappings.schema import DOCUMENT_SCHEMA, compile_or_refuse
from app.domain.incidents.thresholds import MUTED_UNTIL
from app.domain.mapping.document import ACTION
from app.domain.mapping.event_name import with_clean_event_name
from app.domain.mapping.presets import EXAMPLE_MAPPING

MAX_CHARACTERS = 10 * 1024 * 1024
VERSION = 1
_MAPPING_ID = r"^map_[0-9a-z]{16,32}$"
# The validation context with which the documents of mappings are checked too.
_CHECK_DOCUMENTS = object()


def _mapping_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise validation_error("invalid", "A mapping needs a name.")
    if code := name_problem_code(name):
        raise validation_error(code)
    return name


class FileEntry(BaseModel):
    """A destination or a mapping of the file."""

    _path: str = ""

    @property
    def path(self) -> str:
        """Return the path in the file, such as `destinations[0]`."""
        return self._path


class DesiredMapping(FileEntry, extra="allow", strict=True):
    """A mapping in the file. Its further members are those of its document."""

    id: Annotated[str, Field(pattern=_MAPPING_ID)] | None = None
    published: bool = True
    name: Annotated[str, BeforeValidator(_mapping_name)] = Field("", validate_default=True)

    @property
    def document(self) -> dict[str, Any]:
        """Return the document. A member that is null is left out."""
        members = {"action": ACTION, "name": self.name, **(self.model_extra or {})}
        return with_clean_event_name({name: member for name, member in members.items() if member is not None})

    def refusal(self) -> str | None:
        """Return why no destination could store or publish the document, or None."""
        try:
            document = valid_draft(self.document)
            if self.published:
                compile_or_refuse(document)
        except Refusal as refusal:
            return refusal_sentence(refusal)
        return None

    @model_validator(mode="after")
    def _check_document(self, info: ValidationInfo) -> "DesiredMapping":
        if info.context is _CHECK_DOCUMENTS and (sentence := self.refusal()):
            raise validation_error("invalid", sentence)
        return self


def refusal_sentence(refusal: Refusal) -> str:
    """Return the error code of a refusal and its sentence. A default sentence is followed by the fields."""
    problem = refusal.problem
    fields = [f"{each.field}: {each.problem}" for each in problem.fields if problem.detail is None]
    return " ".join([f"{problem.code.value}: {problem.sentence}", *fields])


def _without_window(alerting: AlertingInput | None) -> AlertingInput | None:
    if alerting is not None and MUTED_UNTIL in alerting.model_fields_set:
        raise validation_error("unknown_field", "A maintenance window is not part of the file.", MUTED_UNTIL)
    return alerting


class DesiredDestination(FileEntry, NewDestination):
    """A destination in the file. Without `id`, it is matched by its name."""

    id: Annotated[str, Field(pattern=r"^dst_[0-9a-z]{16,32}$")] | None = None
    status_callback: bool | None = None
    """Report final states to the journey engine. If absent, the stored value is kept."""
    alerting: Annotated[AlertingInput | None, AfterValidator(_without_window)] = None
    """Thresholds by kind of incident. If absent, the stored ones are kept."""
    notifications: NotificationPreference | None = None
    """The messages about incidents. If absent, the stored settings are kept."""
    mappings: Annotated[list[DesiredMapping], Field(max_length=1_000, default_factory=list)]


class File(RequestBody):
    """A configuration file."""

    version: Literal[1]
    destinations: Annotated[list[DesiredDestination], Field(max_length=10_000)]

    @model_validator(mode="after")
    def _place(self) -> "File":
        for number, destination in enumerate(self.destinations):
            destination._path = f"destinations[{number}]"
            for index, mapping in enumerate(destination.mappings):
                mapping._path = f"{destination.path}.mappings[{index}]"
        return self


def schema() -> dict[str, Any]:
    """Return the JSON schema of the file, for editors. docs/configuration.schema.json is a copy of it."""
    described = File.model_json_schema()
    mapping = {
        **DOCUMENT_SCHEMA,
        "required": ["name"],
        "properties": {
            "id": {"type": "string", "pattern": _MAPPING_ID},
            "published": {
                "type": "boolean",
                "default": True,
                "description": "Whether events use the mapping. With false it stays a draft.",
            },
            **DOCUMENT_SCHEMA["properties"],
        },
    }
    mapping.pop("example")
    del described["$defs"]["DesiredMapping"]
    described["$defs"]["Mapping"] = mapping
    destination = described["$defs"]["DesiredDestination"]
    destination["title"] = "Destination"
    destination["properties"]["mappings"]["items"] = {"$ref": "#/$defs/Mapping"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **described,
        "title": "Amazon Conversions destinations",
        "description": "Destinations, their limits and their mappings. See docs/configuration-as-code.md.",
        "examples": [
            {
                "version": VERSION,
                "destinations": [
                    {
                        "name": "Acme US",
                        "advertiser_id": "580123456789012345",
                        "region": "NA",
                        "currency": "USD",
                        "mappings": [EXAMPLE_MAPPING],
                    }
                ],
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem in a file: the path of the field or the line, and a sentence."""

    path: str
    sentence: str


@dataclass(frozen=True, slots=True)
class InvalidFile:
    """The problems of a file that is not applied."""

    problems: tuple[FileProblem, ...]


def read(text: str) -> list[DesiredDestination] | InvalidFile:
    """Parse a file. Return its destinations, or all its problems."""
    if len(text) > MAX_CHARACTERS:
        return InvalidFile((FileProblem("file", f"The file has more than {MAX_CHARACTERS:,} characters."),))
    try:
        # The loader is a SafeLoader, so it creates only plain values.
        parsed = yaml.load(text, UnambiguousLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}" if mark else "file"
        return InvalidFile((FileProblem(line, f"{_NOT_YAML}: {error.problem or error.context}."),))
    except (yaml.YAMLError, RecursionError, ValueError):
        return InvalidFile((FileProblem("file", f"{_NOT_YAML}."),))
    try:
        return File.model_validate(parsed).destinations
    except ValidationError:
        return InvalidFile(tuple(_problems(parsed)))


def _problems(parsed: Any) -> Iterator[FileProblem]:
    """Yield the problems of an invalid file, including those of the documents of mappings.

    In a valid file, the documents are checked when they are applied.
    """
    try:
        File.model_validate(parsed, context=_CHECK_DOCUMENTS)
    except ValidationError as error:
        for each in error.errors():
            yield FileProblem(path_of(each).replace("body", "file"), _sentence(each))


# The sentences for pydantic's types of errors, for people who write YAML.
_SENTENCES = {
    "dict_type": "It must be an object: `name: value` lines.",
    "model_type": "It must be an object: `name: value` lines.",
    "list_type": "It must be a list: one item per line, each after a dash.",
    "string_type": "It must be a text: put it in quotes.",
    "missing": "It is required.",
    "extra_forbidden": "No member has this name here.",
}
_NOT_YAML = "It is not valid YAML for this command"


def _sentence(error: Any) -> str:
    if not error["loc"] and error["type"] in ("dict_type", "model_type"):
        return "The file must be an object with `version: 1` and `destinations:`."
    if error["type"] in _SENTENCES:
        return _SENTENCES[error["type"]]
    message = str(error["msg"])
    return OWN_WORDS.get(message, message).rstrip(".") + "."


class UnambiguousLoader(yaml.SafeLoader):
    """Creates plain values by the rules in the docstring of this module."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  (PyYAML's way to replace the rules)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        members: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a text", key_node.start_mark
                )
            if key in members:
                raise yaml.constructor.ConstructorError(None, None, "a key occurs twice", key_node.start_mark)
            members[key] = self.construct_object(value_node, deep=True)
        return members


# The pattern of each type, and the characters with which it begins. A missing value has no characters.
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    ("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", list("-0123456789")),
):
    UnambiguousLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)

# A number with a point becomes Decimal, as in the JSON parser, so that a constant of a mapping keeps its
# digits.
for _tag, _construct in {
    "int": lambda loader, node: int(loader.construct_scalar(node)),
    "float": lambda loader, node: Decimal(loader.construct_scalar(node)),
}.items():
    UnambiguousLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)


def with_lines(file: InvalidFile, text: str) -> InvalidFile:
    """Put the line number before the path of each problem, if it is known."""
    try:
        root = yaml.compose(text, UnambiguousLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return file
    lines = {} if root is None else dict(_walk(root, ""))
    return InvalidFile(tuple(replace(each, path=_with_line(each.path, lines)) for each in file.problems))


def _walk(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    match node:
        case yaml.MappingNode():
            for key, value in node.value:
                place = f"{path}.{key.value}" if path else str(key.value)
                # A key gives the line number, because the value of an object begins on the next line.
                yield place, key.start_mark.line + 1
                yield from _walk(value, place)
        case yaml.SequenceNode():
            for number, item in enumerate(node.value):
                place = f"{path}[{number}]"
                yield place, item.start_mark.line + 1
                yield from _walk(item, place)


def _with_line(path: str, lines: Mapping[str, int]) -> str:
    """Return the line number and the path. For a missing field, use the line of the object that lacks it."""
    parent = path
    while parent and parent not in lines:
        parent = parent[: max(parent.rfind("."), parent.rfind("["), 0)]
    return f"line {lines[parent]}, {path}" if parent else path
