"""Compile the source of a field in a mapping: a constant, a path, a template, or the first of several."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from app.domain.conversion.numbers import plain
from app.domain.mapping import pipes
from app.domain.mapping.paths import EACH, Path, is_empty, parse_path, path_problem, walk
from app.domain.mapping.pipes import MadeStep
from app.domain.mapping.reading import OVER_BUDGET, UNCLEAR, Reading, SourceFailed, Step, StepProblem
from app.domain.mapping.templates import Placeholder, Value, parse_template, path_value, template_value

MAX_CONSTANT_LENGTH: Final = 1024
MAX_MEMBERS: Final = 8  # of a first_of
KINDS: Final = ("const", "path", "template", "first_of")


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """A problem at `path` of a mapping document: a stable code, and a sentence for the operator."""

    path: str
    problem: str
    sentence: str


class Problems(list[MappingProblem]):
    """The problems that were found so far."""

    def add(self, path: str, problem: str, sentence: str) -> None:
        self.append(MappingProblem(path, problem, sentence))


# Takes the value that a source gave. Returns the value for Amazon, or `SourceFailed`.
Check = Callable[[Any], Any]
Read = Callable[[dict[str, Any], Reading, Check], Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A compiled source.

    `read` takes the content of an event, and returns the result of the check for its value: None if the value
    is absent, null or blank, and `SourceFailed` if it cannot be read. `paths` are all that it reads, and
    `clear_paths` those whose values it does not hash. `fallbacks` are the constants of a `first_of`, with
    their places. `rule` has the names of the pipe's functions, for a preview. `pipe` is the text of all that
    changes the value, to compare it with others. `on_error` is `omit`, `reject` or None. `steps` is the work
    that each event costs, whatever it holds. `names` is the path of a source that is a path of names without
    a pipe.

    The last five say for a backtest what decides the result: the functions of all pipes, the paths that
    `where` compares in the members of lists, all paths that `sum` and `pluck` read there if nothing else is
    read, and the texts of templates between their placeholders. `tried` has the text of each value that is
    tried in turn.
    """

    read: Read
    paths: tuple[str, ...] = ()
    clear_paths: tuple[str, ...] = ()
    const: Any = None
    default: Any = None
    fallbacks: tuple[tuple[str, Any], ...] = ()
    rule: str = ""
    pipe: str = ""
    on_error: str | None = None
    steps: int = 2
    checks: int = 1  # values that are checked at most
    names: tuple[str, ...] = ()
    functions: frozenset[str] = frozenset()
    compared: tuple[Path, ...] = ()
    members: tuple[Path, ...] = ()
    texts: str = ""
    tried: tuple[str, ...] = ()

    @property
    def path(self) -> str | None:
        """The first path, None for a constant."""
        return self.paths[0] if self.paths else None

    @property
    def patterns(self) -> tuple[Path, ...]:
        """The steps of all that it reads."""
        return self.members or tuple(parse_path(path) or () for path in self.paths)

    def continues(self, other: "Source") -> bool:
        """Return whether this source tries the values of the other first, and then more."""
        tried = other.tried
        is_longer = 0 < len(tried) < len(self.tried)
        return is_longer and other.default is None and self.tried[: len(tried)] == tried

    @property
    def constants(self) -> tuple[tuple[str, Any], ...]:
        """The values that do not come from the event, each with its place in the source."""
        named = (("", self.const), (".default", self.default), *self.fallbacks)
        return tuple((place, value) for place, value in named if value is not None)


def unchecked(value: Any) -> Any:
    """Accept a value as it is, where a source is read without a destination field."""
    return value


def constant(value: Any) -> Source:
    """Return a source with the same value for every event."""
    return Source(lambda _content, _reading, check: check(value), const=value, rule="const")


def compile_source(
    written: Any, at: str, problems: Problems, *, bare: str, keep_blank: bool = False, on_error: bool = True
) -> Source | None:
    """Compile a source of a mapping document, or add its problems. `at` is its path in the document.

    `bare` says how to read a source that is a text: "const" for a constant, "path" for a path. A blank value
    counts as absent. For a match key, `keep_blank` returns white space, so that the match key is reported as
    dropped. `on_error` says whether the source may decide what an unreadable value costs.
    """
    earlier = len(problems)
    if isinstance(written, str):
        written = {bare: written}
    kind = _kind(written, at, problems)
    if kind is None:
        return None
    if kind == "const":
        const = _scalar(written["const"], f"{at}.const", problems)
        if len(problems) > earlier:
            return None
        return _text(const) if type(const) is str else constant(const)
    default = written.get("default")
    if default is not None:
        default = _scalar(default, f"{at}.default", problems)
    choice = written.get("on_error")
    if choice is not None and not on_error:
        problems.add(f"{at}.on_error", "not_allowed", "This field always rejects the event.")
    elif choice not in (None, "omit", "reject"):
        problems.add(f"{at}.on_error", "invalid", "on_error is omit or reject.")
    is_plain = kind == "path" and choice is None and written.get("pipe", []) == []
    if is_plain and len(problems) == earlier:
        path = written["path"]
        steps = parse_path(path) if isinstance(path, str) else None
        if steps and all(isinstance(step, str) for step in steps):
            return (_plain if default is None or type(default) is str else _path)(path, default, keep_blank)
    is_several = kind == "first_of"
    members = _members(written, at, bare, problems) if is_several else [_member(written, at, kind, problems)]
    outer = _pipe(written, at, problems) if is_several else ()
    if len(problems) > earlier:
        return None
    found = [member for member in members if member is not None]
    made = [step for member in found for step in member.made] + list(outer)
    paths = tuple(dict.fromkeys(each.text for member in found for each in member.placeholders))
    compared = _read_in_members(paths, [step for step in made if step.row.name == pipes.WHERE])
    named = _read_in_members(paths, [step for step in made if step.row.name != pipes.WHERE])
    outer_steps = tuple(each.step for each in outer)
    functions = [each.row.name for each in (outer if is_several else found[0].pipe)]
    if is_several:
        read = _first_of(found, outer_steps, default)
    else:
        read = _reader(found[0].value, default, keep_blank=keep_blank)
    return Source(
        read,
        paths,
        () if pipes.hashes(outer) else tuple(path for member in found for path in member.clear_paths()),
        default=default,
        fallbacks=tuple(
            (f".first_of[{place}]", pipes.run(outer_steps, member.const, Reading()))
            for place, member in enumerate(found)
            if member.const is not None
        ),
        rule=" | ".join((*([] if kind == "path" else [kind]), *functions)),
        pipe=repr({name: value for name, value in written.items() if name not in ("path", "default")}),
        on_error=choice,
        steps=sum(member.steps + pipes.cost(outer) + 2 for member in found),
        checks=len(found),
        functions=frozenset(each.row.name for each in made),
        compared=compared,
        members=(*named, *compared) if kind == "path" and named else (),
        texts="".join(member.texts for member in found),
        tried=tuple(_text_of(each, bare) for each in written.get("first_of", [written])) if not outer else (),
    )


def _text_of(written: Any, bare: str) -> str:
    """Return the same text for sources that read the same value, whatever their `default` and `on_error`."""
    named = written if type(written) is dict else {bare: written}
    return repr([(name, named[name]) for name in (*KINDS, "pipe") if named.get(name)])


def _read_in_members(paths: Sequence[str], made: Iterable[MadeStep]) -> tuple[Path, ...]:
    """Return where steps find members of the values at the paths, which are lists or objects."""
    return tuple(
        (*(parse_path(path) or ()), *between, *(parse_path(member) or ()))
        for each in made
        for member in each.paths
        for path in paths
        for between in ((), (EACH,))
    )


def _kind(written: Any, at: str, problems: Problems) -> str | None:
    """Return which kind of source this is, or add why it is none."""
    kinds = [kind for kind in KINDS if kind in written] if type(written) is dict else []
    if type(written) is not dict:
        problems.add(at, "wrong_type", "A source is a text or an object such as {path}.")
    elif not written.keys() <= {*KINDS, "pipe", "default", "on_error"}:
        sentence = f"A source has only the members {', '.join(KINDS)}, pipe, default and on_error."
        problems.add(at, "unknown_member", sentence)
    elif "const" in kinds and len(written) > 1:
        problems.add(at, "const_stands_alone", "A constant takes no other member.")
    elif len(kinds) != 1:
        problems.add(at, "required", f"A source needs one of {', '.join(KINDS)}.")
    else:
        return kinds[0]
    return None


@dataclass(frozen=True, slots=True)
class _Member:
    """A compiled const, path or template. `value` returns its value after its pipe, before any check.

    A path is a placeholder without the text of a template.
    """

    value: Value
    pipe: tuple[MadeStep, ...] = ()
    placeholders: tuple[Placeholder, ...] = ()
    texts: str = ""
    const: Any = None

    @property
    def made(self) -> tuple[MadeStep, ...]:
        return (*self.pipe, *(step for each in self.placeholders for step in each.steps))

    @property
    def steps(self) -> int:
        return pipes.cost(self.made) + (len(self.placeholders) if self.texts else 0)

    def clear_paths(self) -> Iterator[str]:
        if not pipes.hashes(self.pipe):
            yield from (each.text for each in self.placeholders if not pipes.hashes(each.steps))


def _members(written: dict[str, Any], at: str, bare: str, problems: Problems) -> list[_Member | None]:
    members = written["first_of"]
    if type(members) is not list or not 2 <= len(members) <= MAX_MEMBERS:
        problems.add(f"{at}.first_of", "invalid", f"first_of is a list of 2 to {MAX_MEMBERS} sources.")
        return []
    compiled: list[_Member | None] = []
    for place, written_member in enumerate(members):
        where = f"{at}.first_of[{place}]"
        member = {bare: written_member} if isinstance(written_member, str) else written_member
        kind = _kind(member, where, problems)
        if kind == "first_of" or (kind is not None and {"default", "on_error"} & member.keys()):
            sentence = "A member of first_of is a const, path or template, and has no default or on_error."
            problems.add(where, "not_allowed", sentence)
        elif kind is not None:
            compiled.append(_member(member, where, kind, problems))
    return compiled


def _member(written: dict[str, Any], at: str, kind: str, problems: Problems) -> _Member | None:
    if kind == "const":
        const = _scalar(written["const"], f"{at}.const", problems)
        return _Member(lambda _content, _reading: const, const=const)
    pipe = _pipe(written, at, problems)
    text = written[kind]
    if kind == "path":
        path = parse_path(text) if isinstance(text, str) else None
        if path is None:
            problems.add(f"{at}.path", "path_invalid", path_problem(text))
            return None
        return _Member(path_value(path, pipe), pipe, (Placeholder(text, path, ()),))
    parts = parse_template(text) if isinstance(text, str) else "A template is a text."
    if isinstance(parts, str):
        problems.add(f"{at}.template", "template_invalid", parts)
        return None
    placeholders = tuple(part for part in parts if isinstance(part, Placeholder))
    texts = "".join(part if isinstance(part, str) else " " for part in parts)
    return _Member(template_value(parts, pipe), pipe, placeholders, texts)


def _pipe(written: dict[str, Any], at: str, problems: Problems) -> tuple[MadeStep, ...]:
    pipe = written.get("pipe", [])
    if type(pipe) is not list or len(pipe) > pipes.MAX_PIPE_STEPS:
        problems.add(f"{at}.pipe", "wrong_type", f"A pipe is a list of at most {pipes.MAX_PIPE_STEPS} steps.")
        return ()
    steps: list[MadeStep] = []
    for place, written_step in enumerate(pipe):
        step = pipes.compile_step(written_step)
        if isinstance(step, StepProblem):
            problems.add(f"{at}.pipe[{place}]", step.code, step.sentence)
        else:
            steps.append(step)
    return tuple(steps)


def _first_of(members: list[_Member], steps: tuple[Step, ...], default: Any) -> Read:
    """Return a function that returns the first value that passes the check."""
    values = tuple(member.value for member in members)

    def read(content: dict[str, Any], reading: Reading, check: Check) -> Any:
        failed, noted = None, len(reading.notes)
        for value_of in values:
            value = value_of(content, reading)
            if not is_empty(value) and type(value) is not SourceFailed:
                value = pipes.run(steps, value, reading)
            if not is_empty(value):
                result = value if type(value) is SourceFailed else _judged(value, reading, check)
                # If it is unclear whether a member passes, the members after it do not matter.
                if type(result) is not SourceFailed or result is UNCLEAR:
                    return result
                failed = failed or result
            del reading.notes[noted:]
        return failed or (None if default is None else check(default))

    return read


def _judged(value: Any, reading: Reading, check: Check) -> Any:
    """Check a value. A check reads a text as far as it may be long, and takes longer for other letters."""
    if isinstance(value, str):
        other_letters = 0 if value.isascii() else min(len(value), MAX_CONSTANT_LENGTH) * 3 // 2
        if not (reading.charge(other_letters) if other_letters else reading.charge_text(value)):
            return OVER_BUDGET
    return check(value)


def _reader(value_of: Value, default: Any, *, keep_blank: bool) -> Read:
    """Return a function that checks a value. The default stands for one that is absent, null or blank."""

    def read(content: dict[str, Any], reading: Reading, check: Check) -> Any:
        value = value_of(content, reading)
        if is_empty(value) and not (keep_blank and value and default is None):
            return None if default is None else check(default)
        return value if type(value) is SourceFailed else _judged(value, reading, check)

    return read


def _path(text: str, default: Any, keep_blank: bool) -> Source:
    """Return the usual source: a path of names without a pipe."""
    names = tuple([step for step in parse_path(text) or () if isinstance(step, str)])

    read = _reader(lambda content, _reading: walk(content, names), default, keep_blank=keep_blank)
    return Source(read, (text,), (text,), default=default, names=names, tried=(_text_of(text, "path"),))


# Mappings share equal sources to save memory: a thousand destinations have few different sources. Constants
# other than texts are not shared, because 1, 1.0 and True would be the same key of the cache.
_share = lru_cache(maxsize=4096)
_text = _share(constant)
_plain = _share(_path)


def _scalar(written: Any, at: str, problems: Problems) -> Any:
    """Return the value of a constant or default, and add its problem."""
    value = plain(written)
    if not isinstance(value, str | int | Decimal) or (isinstance(value, Decimal) and not value.is_finite()):
        problems.add(at, "wrong_type", "Use a text, a number or a boolean.")
    elif isinstance(value, str) and len(value) > MAX_CONSTANT_LENGTH:
        problems.add(at, "too_long", f"A constant has at most {MAX_CONSTANT_LENGTH:,} characters.")
    return value
