"""The steps of a plan: each reads a field of an event, checks its value, and settles what a failure costs.

Source: interface §4.4.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.results import HIDDEN, EventWarning, Step, Trace
from app.domain.conversion.values import PERSONAL
from app.domain.event import EventProblem
from app.domain.identity.keys import MatchKey
from app.domain.mapping.document import FIELDS
from app.domain.mapping.reading import SHORT_TEXT, UNCLEAR, Reading, SourceFailed
from app.domain.mapping.sources import Check, Source

MAX_PROBLEMS: Final = 10  # that a rejection names


class Run(Reading, eq=False, gc=False):
    """The conversion of one event. It holds personal data.

    `objects` are those of `Fields`. `dropped` has Amazon's types of match keys, and the reasons. `sentences`
    has one for each problem.
    """

    content: dict[str, Any] = {}
    objects: list[dict[str, Any]] = []
    trace: Trace | None = None
    warnings: list[EventWarning] = []
    dropped: list[tuple[str, str]] = []
    problems: list[EventProblem] = []
    sentences: list[str] = []

    def refuse(self, failed: SourceFailed, name: str, source: Source | None) -> None:
        """Note a problem that rejects the event. Its sentence names the source."""
        path = source.path if source else None
        self.add_problem(failed.reason, path, name, detail(failed, name, source))

    def add_problem(self, reason: str, field: str | None, mapping_field: str | None, sentence: str) -> None:
        self.problems.append(EventProblem(reason, field, mapping_field))
        self.sentences.append(sentence)


class Fields:
    """The mapped fields, and the objects of an event that hold the values of plain paths.

    Each object is read once for an event.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        # For each object after the first two: the number of the one that holds it, and its name there.
        self._inner: list[tuple[int, str]] = []
        self._numbers: dict[tuple[str, ...], int] = {(): 0}

    def step(self, name: str, check: Check, **options: Any) -> "FieldStep":
        """Return the step of a field, mapped or not. `options` are those of `FieldStep`."""
        source = self.sources.get(name)
        return _UNMAPPED if source is None else FieldStep(name, source, check, self, **options)

    def place_of(self, source: Source) -> tuple[int, str]:
        """Return the number of the object with a source's value, and its name there.

        The value of a source with another form than a plain path is in no object: it must be read.
        """
        return (self._number(source.names[:-1]), source.names[-1]) if source.names else (_NOWHERE, "")

    def _number(self, path: tuple[str, ...]) -> int:
        if path not in self._numbers:
            self._inner.append((self._number(path[:-1]), path[-1]))
            self._numbers[path] = len(self._inner) + _NOWHERE
        return self._numbers[path]

    def objects_of(self, content: dict[str, Any], *, is_traced: bool = False) -> list[dict[str, Any]]:
        """Return the objects of an event by number, an empty one where the event has no object.

        If the conversion is traced, all are empty: each value is then read with its source.
        """
        objects = [_EMPTY if is_traced else content, _EMPTY]
        for holder, name in self._inner:
            member = objects[holder].get(name)
            objects.append(member if type(member) is dict else _EMPTY)
        return objects


_NOWHERE: Final = 1  # the number of an object that is always empty
_EMPTY: Final[dict[str, Any]] = {}


class FieldStep:
    """Reads and settles one field. `shows` means that its value may appear in a preview."""

    def __init__(
        self,
        name: str,
        source: Source,
        check: Check,
        fields: Fields,
        *,
        rejects: bool,
        absent: str | None = None,
        shows: bool = True,
        wire_type: str | None = None,
    ) -> None:
        """`rejects` says what an unreadable value costs if the source does not say it.

        `absent` is the reason of the rejection if the field is required. `wire_type` is Amazon's type of a
        match key.
        """
        self.name, self.source, self.read, self.check = name, source, source.read, check
        self.object, self.member = fields.place_of(source)
        self.place = source.path or name
        self.rejects = rejects if source.on_error is None else source.on_error == "reject"
        self.absent = None if absent is None else SourceFailed(absent, "is absent")
        self.shows, self.wire_type = shows, wire_type
        # The warning about a value that was left out.
        self.omitted = "field_omitted" if wire_type is None else "match_key_dropped"
        # The value of a constant, which is the same for every event.
        self.fixed = None if source.paths else source.read({}, Reading(), check)

    def get(self, run: Run) -> Any:
        """Return the checked value, None or `SourceFailed`, which must then be settled."""
        if self.fixed is not None:
            return self.fixed
        value = run.objects[self.object].get(self.member)
        # A text that begins with none of the characters up to the space is neither empty nor blank.
        if type(value) is str and value >= "!" and len(value) <= SHORT_TEXT and value.isascii():
            return self.check(value)
        if type(value) is int or type(value) is Decimal:
            return self.check(value)
        return self.read(run.content, run, self.check)

    def value(self, run: Run) -> Any:
        """Return the checked value, or None if there is none."""
        value = self.get(run)
        if value is None or type(value) is SourceFailed or run.notes or run.trace is not None:
            return self.settle(run, value)
        return value

    def settle(
        self,
        run: Run,
        value: Any,
        *,
        rejects: bool | None = None,
        warnings: tuple[str, ...] = (),
        rule: str | None = None,
        result: Any = None,
    ) -> Any:
        """Note the warnings, the problem and the step of a field; return its value, or None.

        `rejects`, `rule` and `result` replace those of the step.
        """
        failed = value if isinstance(value, SourceFailed) else self.absent if value is None else None
        if failed is None:
            rejects = False
        elif rejects is None:
            required = failed in (self.absent, UNCLEAR) or failed.reason == "event_id_personal"
            rejects = required or (self.rejects and failed is not PERSONAL)
        if run.notes:
            warnings = (*warnings, *run.notes) if failed is None else ()
            run.notes.clear()
        if failed is not None:
            value = None
            if rejects:
                run.refuse(failed, self.name, self.source)
            else:
                is_custom_text = failed is PERSONAL and self.name.startswith("custom_data.")
                warnings = ("custom_value_dropped" if is_custom_text else self.omitted,)
                rule = "omitted" if warnings == ("field_omitted",) else "dropped"
                if self.wire_type is not None:
                    run.dropped.append((self.wire_type, failed.drop or failed.reason))
        for code in warnings:
            run.warnings.append(EventWarning(code, self.place))
        if run.trace is not None:
            if rule is None:
                rule = "absent" if value is None else self.source.rule
            hidden = None
            if result is None and value is not None:
                if self.shows:
                    result = _plain(value)
                else:
                    result, hidden = HIDDEN, hash(value.value if isinstance(value, MatchKey) else value)
            sentence = run.sentences[-1] if rejects else ""
            run.trace.append(
                Step(self.name, self.source, rule, result, failed, rejects, sentence, warnings, hidden)
            )
        return value


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a response cannot hold a subclass of `str`, such as `ReadAsGB`."""
    if isinstance(value, str):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value


class _Unmapped(FieldStep):
    """Stands for a field that the mapping does not fill."""

    def __init__(self) -> None:
        self.rejects, self.fixed = False, None
        self.object, self.member = _NOWHERE, ""

    def get(self, run: Run) -> None:
        return None

    def value(self, run: Run) -> None:
        return None

    def settle(self, run: Run, value: Any, **_: Any) -> None:
        return None


_UNMAPPED: Final = _Unmapped()


def detail(failed: SourceFailed, name: str, source: Source | None) -> str:
    """Return the sentence of a problem."""
    if source is None:
        return failed.sentence
    where = f"is mapped to {' and '.join(source.paths)}" if source.paths else "is a constant"
    return f"{_label(name)} {where}, which {failed.sentence}."


_LABELS: Final = {
    "event_type": "Event Type",
    "event_source": "Event Source",
    "country_code": "Country Code",
    "consent.user_data": "Consent to the use of user data",
    "consent.ad_storage": "Consent to ad storage",
    "consent.string": "The consent string",
}


def _label(name: str) -> str:
    row = FIELDS.get(name)
    return row.label if row else _LABELS.get(name, f"Custom field {name.removeprefix('custom_data.')}")
