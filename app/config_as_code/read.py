"""Parse a configuration file and check its fields.

YAML 1.1 reads `NO` as false, `1:30` as 90 and `2026-01-02` as a date. Here everything except true, false,
null and plain numbers is a text. Duplicate keys are refused, because YAML keeps only the last of them.
Aliases are refused, because a few lines with aliases can expand into gigabytes.
"""

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml
from pydantic import ValidationError

from app.admin.mappings.field_problems import OWN_WORDS, path_of
from app.config_as_code.model import CHECK_DOCUMENTS, DesiredDestination, File

MAX_CHARACTERS = 10 * 1024 * 1024


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
        File.model_validate(parsed, context=CHECK_DOCUMENTS)
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
_NOT_AN_OBJECT = "The file must be an object with `version: 1` and `destinations:`."
_NOT_YAML = "It is not valid YAML for this command"


def _sentence(error: Any) -> str:
    if not error["loc"] and error["type"] in ("dict_type", "model_type"):
        return _NOT_AN_OBJECT
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


def _resolve(tag: str, pattern: str, first: str) -> None:
    UnambiguousLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|false)$", "tf")
_resolve("null", r"^(?:null|~|)$", "n~")
UnambiguousLoader.yaml_implicit_resolvers.setdefault("", []).append(
    ("tag:yaml.org,2002:null", re.compile("^$"))
)
_resolve("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789")
_resolve("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789")


# A number with a point becomes Decimal, as in the JSON parser, so that a constant of a mapping keeps its
# digits.
for _tag, _construct in {
    "int": lambda loader, node: int(loader.construct_scalar(node)),
    "float": lambda loader, node: Decimal(loader.construct_scalar(node)),
    "map": lambda loader, node: loader.construct_mapping(node),
}.items():
    UnambiguousLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)


def with_lines(file: InvalidFile, text: str) -> InvalidFile:
    """Put the line number before the path of each problem, if it is known."""
    try:
        root = yaml.compose(text, UnambiguousLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return file
    lines = {} if root is None else dict(_walk(root, ""))
    return InvalidFile(
        tuple(FileProblem(_with_line(each.path, lines), each.sentence) for each in file.problems)
    )


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
