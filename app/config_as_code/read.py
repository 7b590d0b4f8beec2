"""Reading a configuration file: YAML with one meaning only, then its members, each problem with its place.

YAML 1.1 reads `NO` as false, `1:30` as 90, `2026-01-02` as a date and lets the last of two equal keys win.
Here a country stays a country: only true, false, null and plain numbers are not text, a key stands once, and
aliases are refused, since a few lines of them can unfold into gigabytes.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml
from pydantic import ValidationError

from app.admin.field_problems import OWN_WORDS, request_path
from app.admin.inputs import name_problem_code
from app.config_as_code.model import DesiredDestination, File, MappingMembers

LONGEST = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that keeps a file from being applied: its place in the file, and a sentence."""

    at: str
    sentence: str


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file that is not applied, and everything that keeps it from being so."""

    wrong: tuple[FileProblem, ...]


@dataclass(frozen=True, slots=True)
class DesiredMapping:
    """A mapping as the file wants it; `at` is its place in the file."""

    at: str
    id: str | None
    name: str
    published: bool
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A destination as the file wants it, with its mappings; `at` is its place in the file."""

    at: str
    destination: DesiredDestination
    mappings: tuple[DesiredMapping, ...]


def read(text: str) -> list[DesiredState] | UnreadableFile:
    """Read a file into what it wants, or everything that is wrong with it."""
    if len(text) > LONGEST:
        return UnreadableFile((FileProblem("file", f"It has more than {LONGEST:,} characters."),))
    try:
        # The loader is a SafeLoader: it makes plain values only.
        written = yaml.load(text, UnambiguousLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"line {mark.line + 1}" if mark else "file"
        return UnreadableFile(
            (FileProblem(at, f"It is not YAML as it is read here: {error.problem or error.context}."),)
        )
    except (yaml.YAMLError, RecursionError, ValueError):
        return UnreadableFile((FileProblem("file", "It is not YAML as it is read here."),))
    try:
        file = File.model_validate(written)
    except ValidationError as error:
        return UnreadableFile(
            tuple(
                FileProblem(request_path(one["loc"]).replace("body", "file"), _sentence(one))
                for one in error.errors()
            )
        )
    return _parted(file)


def _parted(file: File) -> list[DesiredState] | UnreadableFile:
    wrong: list[FileProblem] = []
    wanted = []
    for number, destination in enumerate(file.destinations):
        at = f"destinations[{number}]"
        mappings = [
            _mapping(f"{at}.mappings[{place}]", dict(one), wrong)
            for place, one in enumerate(destination.mappings)
        ]
        wanted.append(DesiredState(at, destination, tuple(one for one in mappings if one is not None)))
    return UnreadableFile(tuple(wrong)) if wrong else wanted


def _mapping(at: str, members: dict[str, Any], wrong: list[FileProblem]) -> DesiredMapping | None:
    own = {name: members.pop(name) for name in ("id", "published") if name in members}
    try:
        known = MappingMembers.model_validate(own)
    except ValidationError as error:
        wrong += [FileProblem(f"{at}.{request_path(one['loc'])}", _sentence(one)) for one in error.errors()]
        return None
    name = members.get("name")
    if not isinstance(name, str) or name_problem_code(name):
        wrong.append(FileProblem(f"{at}.name", "A mapping needs a name of printable characters."))
        return None
    return DesiredMapping(at, known.id, name, known.published, members)


# The validating library's word to what a person who writes YAML can act on.
_SAID = {
    "dict_type": "It must be an object: names, each with a colon and a value.",
    "model_type": "It must be an object: names, each with a colon and a value.",
    "list_type": "It must be a list: one item a line, each after a dash.",
    "string_type": "It must be a text: put it in quotes.",
    "missing": "It is required and not there.",
    "extra_forbidden": "No member has this name here.",
}
_WHOLE = "The file must be an object that begins with `version: 1` and has `destinations:`."


def _sentence(error: Any) -> str:
    if not error["loc"] and error["type"] in ("dict_type", "model_type"):
        return _WHOLE
    if error["type"] in _SAID:
        return _SAID[error["type"]]
    said = str(error["msg"])
    return OWN_WORDS.get(said, said).rstrip(".") + "."


class UnambiguousLoader(yaml.SafeLoader):
    """Makes plain values, each text with one meaning. See the top of this file."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  (PyYAML's own way to have other rules)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not taken", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        made: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a text", key_node.start_mark
                )
            if key in made:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key stands there twice", key_node.start_mark
                )
            made[key] = self.construct_object(value_node, deep=True)
        return made


def _resolve(tag: str, pattern: str, first: str) -> None:
    UnambiguousLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|false)$", "tf")
_resolve("null", r"^(?:null|~|)$", "n~")
UnambiguousLoader.yaml_implicit_resolvers.setdefault("", []).append(
    ("tag:yaml.org,2002:null", re.compile("^$"))
)
_resolve("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789")
_resolve("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789")


def _whole(loader: yaml.SafeLoader, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _exact(loader: yaml.SafeLoader, node: Any) -> Decimal:
    # As the strict JSON parser keeps numbers: a mapping's constant is what was written.
    return Decimal(loader.construct_scalar(node))


def _object(loader: yaml.SafeLoader, node: Any) -> dict[Hashable, Any]:
    return loader.construct_mapping(node)


UnambiguousLoader.add_constructor("tag:yaml.org,2002:int", _whole)
UnambiguousLoader.add_constructor("tag:yaml.org,2002:float", _exact)
UnambiguousLoader.add_constructor("tag:yaml.org,2002:map", _object)
