"""Collect what events have at each path: the names that lead there, and each event's value.

A list of objects gives the paths of its first member, and a `ProductList` with all its members. A list whose
members name themselves, such as `[{"type": "email", "value": "a@b.example"}]`, gives a source for each name.
The work is bounded: at most `MAX_PATHS` paths, `MAX_DEPTH` levels, and `MAX_MEMBERS` members of an object or
a list.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from app.domain.conversion.numbers import is_number, number_text
from app.domain.identity.placeholders import is_placeholder
from app.domain.mapping.paths import parse_path
from app.domain.mapping.pipes import make_step, run
from app.domain.mapping.reading import Reading, Step, StepProblem
from app.domain.suggestions.names import plain, rank, word_list, words_in, words_of

MAX_PATHS: Final = 400
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 100
_MAX_SCALARS: Final = 2  # members of a list of texts or numbers
_NAMED_DEPTH: Final = 2
_MAX_NAMED: Final = 12  # different names in a list whose members name themselves

_INDEX: Final = re.compile(r"\[[0-9*]")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_QUOTABLE: Final = re.compile(r'@?[^"\\\x00-\x1f\x7f-\x9f@]{1,128}')
_LONG_NUMBER: Final = re.compile(r"[0-9]{5}", re.ASCII)
# The envelope of `POST /events`, which is no catalogue data.
_ENVELOPE: Final = frozenset({"event_id", "destination_id", "mapping_id", "journey"})
_NAMING: Final = word_list("naming")
_NO_NAMES: Final = ("first_name", "last_name", "country_code", "city", "state", "postal")  # `first_name: Ada`
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z _-]{1,39}|[a-z]{2,8}:[A-Za-z_./-]{1,80}[0-9-]{0,12}", re.ASCII)
_QUESTION: Final = re.compile(r"[^0-9@\x00-\x1f]{3,60}\?")

# The decimal and the group sign that belong to digits of another script, by the digit 0.
_SIGNS: Final = {"\u0660": {"\u066b": ".", "\u066c": ","}, "\uff10": {"\uff0e": ".", "\uff0c": ","}}

Written = dict[str, Any]  # a source of a mapping document


def place_of(source: Written) -> str:
    """Return the path or template that a source reads."""
    return str(source.get("path") or source["template"])


def compiled(steps: Sequence[Any]) -> tuple[Step, ...]:
    """Return the functions of written steps of a pipe."""
    return tuple(step for step in map(make_step, steps) if not isinstance(step, StepProblem))


def text_of(value: Any) -> str | None:
    """Return a text or a number as text, as a text field reads it."""
    if type(value) is str:
        return value
    return number_text(value) if is_number(value) else None


@dataclass(frozen=True, slots=True)
class ObservedPath:
    """What a source finds in each event. `names` lead to it; `values` has None where nothing is found.

    `wrapper` is the beginning of its path that leads to the only member of a list.
    """

    source: Written
    names: tuple[str, ...]
    values: tuple[Any, ...] = field(repr=False)
    wrapper: str = ""

    @property
    def path(self) -> str:
        return place_of(self.source)

    @property
    def label(self) -> str:
        """The name of the path for a person: two names where the last one alone says little."""
        return ".".join(self.names[-2:] if len(self.names[-1]) <= 6 else self.names[-1:])

    @property
    def in_list(self) -> bool:
        """Whether the source reads a member of a list."""
        return _INDEX.search(self.path.removeprefix(self.wrapper)) is not None

    def has_step(self, name: str) -> bool:
        """Return whether its pipe has a step: `where` looks for a member of a list by its name."""
        return name in (step[0] for step in self.source.get("pipe", ()))

    @property
    def found(self) -> list[Any]:
        """The values that are present."""
        return [value for value in self.values if value is not None]

    @property
    def texts(self) -> list[str]:
        return [value for value in self.values if type(value) is str]

    def has_only(self, fits: Callable[[str], Any]) -> bool:
        """Return whether it is a path without steps whose values are all texts that fit."""
        texts = self.texts
        is_plain = "pipe" not in self.source and 0 < len(texts) == len(self.found)
        return is_plain and all(map(fits, texts))

    @property
    def words(self) -> frozenset[str]:
        """The words of all names that lead to it."""
        return words_in(self.names)

    def piped(self, *steps: Any) -> Written:
        """Return the source with further steps of its pipe."""
        return {**self.source, "pipe": [*self.source.get("pipe", ()), *steps]} if steps else self.source

    def guarded_by(self, guard: "ObservedPath", texts: Sequence[str], *steps: Any) -> Written:
        """Return a source with further steps, which they can read only where the guard has one of the texts.

        It begins with the text of the guard in double brackets, which steps remove.
        """
        opened = [["replace", f"[[{text}]] ", ""] for text in texts]
        pipe = [*opened, *self.source.get("pipe", ()), *steps]
        return {"template": f"[[{{{guard.path}}}]] {{{self.path}}}", "pipe": pipe}

    def replacing(self, words: Mapping[str, str], *first: str) -> "ObservedPath":
        """Return the path with steps that replace words in its texts, after other first steps."""
        steps = [["replace", word, other] for word, other in words.items()]
        return self.through(*first, *steps) if words else self

    def through(self, *steps: Any) -> "ObservedPath":
        """Return the path with further steps for texts, and the texts that they give."""
        made = compiled(steps)
        values = tuple(run(made, value, Reading()) if type(value) is str else value for value in self.values)
        return replace(self, source=self.piped(*steps), values=values)

    def with_plain_digits(self) -> "ObservedPath":
        """Return the path with steps that replace the digits of another script, such as full-width ones."""
        others = {char for text in self.texts if not text.isascii() for char in text if not char.isascii()}
        zeros = {chr(ord(char) - unicodedata.digit(char)) for char in others if char.isdecimal()}
        if len(zeros) != 1:
            return self
        (zero,) = zeros
        forms = {char: unicodedata.normalize("NFKC", char) for char in sorted(others) if not char.isdecimal()}
        signs = {char: form for char, form in forms.items() if form in {*"-/:+", " "}}
        return self.replacing({chr(ord(zero) + n): str(n) for n in range(10)} | _SIGNS.get(zero, {}) | signs)


@dataclass(frozen=True, slots=True)
class FieldFinding:
    """What was found for a field: its source, a sentence that says why, and words for what is undecided.

    `source` is as in the mapping document; None if there is none.
    """

    source: Any
    reason: str = ""
    undecided: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductList:
    """A list of objects. `path` reads the list, `members` has the members of each event."""

    path: str
    names: tuple[str, ...]
    members: tuple[Sequence[Mapping[str, Any]], ...] = field(repr=False)

    @property
    def each(self) -> str:
        """The path of each member."""
        return self.path if self.path.endswith("[*]") else f"{self.path}[*]"

    def member(self, path: str) -> str:
        """Return the path of a member of each object."""
        return f"{self.each}{path}" if path.startswith("[") else f"{self.each}.{path}"


@dataclass(frozen=True, slots=True)
class ObservedPaths:
    """All that was found in events. A list of objects that holds other objects is in `lists`, too."""

    values: tuple[ObservedPath, ...]
    lists: tuple[ProductList, ...]
    objects: frozenset[str]  # the paths of objects
    blank: tuple[ObservedPath, ...] = ()  # the paths without a value in any event

    def without_named_members(self, products: ProductList) -> "ObservedPaths":
        """Leave out the sources of single products: a name of a product is none of a field."""
        values = (
            each
            for each in self.values
            if "pipe" not in each.source
            or each.path.replace("[0]", "[*]") != products.path.removesuffix("[*]")
        )
        return replace(self, values=tuple(values))


def observe(events: Sequence[dict[str, Any]]) -> ObservedPaths:
    """Collect the paths and values of events."""
    walk = _Walk(events, frozenset())
    if mixed := walk.objects & walk.lists.keys():
        walk = _Walk(events, frozenset(mixed))
    wrappers = [f"{path}[0]" for path in walk.lists if walk.is_wrapper(path)]
    paths = [
        ObservedPath(source, names, tuple(values), next(filter(source["path"].startswith, wrappers), ""))
        for source, names, values in walk.values.values()
        if f"{source['path']}[0]" not in wrappers
    ]
    return ObservedPaths(
        tuple(each for each in paths if each.found),
        tuple(
            # Lists of several objects, such as the items of each shipment, are read as one list.
            ProductList(f"{path}[*]" if "[*]" in path else path, names, tuple(map(tuple, each)))
            for path, (names, each) in walk.lists.items()
        ),
        frozenset(walk.objects),
        tuple(each for each in paths if not each.found),
    )


def step(path: str, name: str) -> str | None:
    """Return the path of an object's member, or None if the name cannot stand in a path or may be a value."""
    if not _LONG_NUMBER.search(name):
        if _PLAIN_NAME.fullmatch(name):
            return f"{path}.{name}" if path else name
        if _QUOTABLE.fullmatch(name):
            return f'{path}["{name}"]'
    return None


class _Walk:
    """What was found in events. `mixed` are the lists that are an object where they have one member."""

    def __init__(self, events: Sequence[dict[str, Any]], mixed: frozenset[str]) -> None:
        self.events = len(events)
        self.mixed = mixed
        self.values: dict[tuple[str, str], tuple[Written, tuple[str, ...], list[Any]]] = {}
        self.lists: dict[str, tuple[tuple[str, ...], list[list[Mapping[str, Any]]]]] = {}
        self.objects: set[str] = set()
        for number, event in enumerate(events):
            self.number = number
            self.members({name: each for name, each in event.items() if name not in _ENVELOPE}, "", (), "")

    def members(self, value: Mapping[str, Any], path: str, names: tuple[str, ...], all_path: str) -> None:
        """Visit the members of an object. `all_path` reads it in every object of the lists above."""
        for name, member in list(value.items())[:MAX_MEMBERS]:
            below, all_below = step(path, name), step(all_path or path, name)
            if below and all_below and len(names) < MAX_DEPTH and len(below) <= 200:
                self.visit(member, below, plain((*names, name)), all_below)

    def visit(self, value: Any, path: str, names: tuple[str, ...], all_path: str) -> None:
        match value:
            case dict() if path in self.mixed:
                self.list_of_objects([value], path, names, all_path)
            case dict() if value:
                self.objects.add(path)
                self.members(value, path, names, all_path)
            case list() if value and all(type(each) is dict for each in value[:MAX_MEMBERS]):
                self.list_of_objects(value[:MAX_MEMBERS], path, names, all_path)
            case list() if value:
                for place, member in enumerate(value[:_MAX_SCALARS]):
                    self.visit(member, f"{path}[{place}]", names, all_path)
            case _:
                self.record({"path": path}, names, value)

    def list_of_objects(
        self, members: list[dict[str, Any]], path: str, names: tuple[str, ...], all_path: str
    ) -> None:
        is_nested = "[*]" in all_path
        if all_path.count("[*]") < 2 and (all_path in self.lists or len(self.lists) < MAX_PATHS):
            self.lists.setdefault(all_path, (names, [[] for _ in range(self.events)]))
            self.extend_list(all_path, members)
        self.named_members(members, path, names)
        first = f"{path}[{'*' if path in self.mixed else 0}]"
        self.members(members[0], first, names, f"{all_path}[*]")
        for other in members[1:] if not is_nested else ():
            for name, member in list(other.items())[:MAX_MEMBERS]:
                below = step(f"{all_path}[*]", name)  # the products of another shipment
                is_list = type(member) is list and all(type(each) is dict for each in member)
                if is_list and below in self.lists:
                    self.extend_list(below, member)

    def extend_list(self, path: str, members: list[dict[str, Any]]) -> None:
        found = self.lists[path][1][self.number]
        found.extend(members[: MAX_MEMBERS - len(found)])

    def named_members(self, members: list[dict[str, Any]], path: str, names: tuple[str, ...]) -> None:
        """Record a source for each name, if the members name themselves by different texts."""
        if len(members) > _MAX_NAMED:
            return
        given = [{below: text for _, below, text in islice(_scalars(each), MAX_MEMBERS)} for each in members]
        is_person = any(rank(field, (name,)) > 45 for field in ("email", "phone") for name in given[0])
        naming = [
            name
            for word in _NAMING
            for name in given[0]
            if words_of(name)[-1:] == (word,) and not any(rank(field, (name,)) for field in _NO_NAMES)
            if not (word in ("name", "id") and (is_person or "." in name))
            if all(_is_name(each.get(name)) for each in given)
        ]
        naming.sort(key=lambda name: len({each[name] for each in given}) < len(given))
        own = [each[naming[0]] for each in given] if naming else []
        for name, each in zip(own, members if own else (), strict=True):
            if own.count(name) > 1:
                continue  # `first` would read only one of them
            for inner, plucked, member in _scalars(each):
                if plucked != naming[0]:
                    pipe = [["where", naming[0], "is", name], ["pluck", plucked], "first"]
                    self.record({"path": path, "pipe": pipe}, plain((*names, name, *inner)), member)

    def is_wrapper(self, path: str) -> bool:
        """Return whether a list has one member in each event, such as an order with a list of products."""
        names, members = self.lists[path]
        inner = (other for below, (other, _) in self.lists.items() if below.startswith(f"{path}[*]"))
        is_one = "[" not in path and max(map(len, members)) == 1 and rank("products", names) <= 45
        return is_one and any(rank("products", other) > 45 for other in inner)

    def record(self, source: Written, names: tuple[str, ...], value: Any) -> None:
        if "[*]" in source["path"]:
            source = {**source, "pipe": ["first"]}
        key = (source["path"], repr(source.get("pipe")))
        if parse_path(source["path"]) is None:
            return  # too many steps
        if key not in self.values and len(self.values) < MAX_PATHS:
            self.values[key] = (source, names, [None] * self.events)
        if key in self.values:
            # A blank value takes the place of the path, whose order counts.
            is_word = type(value) is str and (value.isspace() or is_placeholder(value))
            self.values[key][2][self.number] = None if is_word or value in ("", [], {}) else value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value) or _QUESTION.fullmatch(value))


def _scalars(
    value: Mapping[str, Any], path: str = "", names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Yield the names, the path and the value of each member of an object, and of the objects in it."""
    for name, given in value.items():
        below, member = step(path, name), given
        if below is not None and type(given) is list and len(given) == 1:
            below, member = f"{below}[0]", given[0]
        if below is None or type(member) is list or member in (None, ""):
            continue
        if type(member) is not dict:
            yield (*names, name), below, member
        elif len(names) < _NAMED_DEPTH:
            yield from _scalars(member, below, (*names, name))
