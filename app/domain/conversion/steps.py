"""The steps of a plan: each reads a field of an event, checks its value, and settles what a failure costs.

Source: interface §4.4.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.failures import UNCLEAR, SourceFailed
from app.domain.conversion.results import EventWarning, Step, Trace
from app.domain.conversion.values import PERSONAL
from app.domain.event import EventProblem
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.reading import MAX_STEPS, Reading
from app.domain.mapping.sources import Check, Source

MAX_PROBLEMS: Final = 10  # that a rejection names


class Run:
    """The conversion of one event. It holds personal data."""

    __slots__ = ("content", "dropped", "notes", "problems", "reading", "sentences", "trace", "warnings")

    def __init__(self, content: dict[str, Any], steps: int, trace: Trace | None) -> None:
        self.content = content
        self.reading = reading = Reading(steps)
        self.notes = reading.notes  # the warnings of the field that is being read
        self.trace = trace
        self.warnings: list[EventWarning] = []
        self.dropped: list[tuple[str, str]] = []  # (Amazon's match key type, reason)
        self.problems: list[EventProblem] = []
        self.sentences: list[str] = []  # for each problem

    @property
    def spent(self) -> int:
        """The steps that the event took so far. Work beyond the limit is charged, but not done."""
        return MAX_STEPS - max(self.reading.steps_left, 0)

    def refuse(self, failed: SourceFailed, name: str, source: Source | None) -> None:
        """Note a problem that rejects the event. Its sentence names the source."""
        path = source.path if source else None
        self.add_problem(failed.reason, path, name, detail(failed, name, source))

    def add_problem(self, reason: str, field: str | None, mapping_field: str | None, sentence: str) -> None:
        self.problems.append(EventProblem(reason, field, mapping_field))
        self.sentences.append(sentence)


class FieldStep:
    """Reads and settles one field. `shows` means that its value may appear in a preview."""

    __slots__ = (
        "absent",
        "check",
        "fixed",
        "name",
        "omitted",
        "place",
        "read",
        "rejects",
        "shows",
        "source",
        "wire_type",
    )

    def __init__(
        self,
        name: str,
        source: Source,
        check: Check,
        *,
        rejects: bool,
        absent: str | None = None,
        omitted: str = "field_omitted",
        shows: bool = True,
        wire_type: str | None = None,
    ) -> None:
        """`rejects` says what an unreadable value costs if the source does not say it.

        `absent` is the reason of the rejection if the field is required. `omitted` is the warning about a
        value that was left out. `wire_type` is Amazon's type of a match key.
        """
        self.name, self.source, self.read, self.check = name, source, source.read, check
        self.place = source.path or name
        self.rejects = rejects if source.on_error is None else source.on_error == "reject"
        self.absent = None if absent is None else SourceFailed(absent, "is absent")
        self.omitted, self.shows, self.wire_type = omitted, shows, wire_type
        # The value of a constant, which is the same for every event.
        self.fixed = None if source.paths else source.read({}, Reading(), check)

    def get(self, run: Run) -> Any:
        """Return the checked value, None or `SourceFailed`, which must then be settled."""
        return self.read(run.content, run.reading, self.check) if self.fixed is None else self.fixed

    def value(self, run: Run) -> Any:
        """Return the checked value, or None if there is none."""
        value = self.fixed
        if value is None:
            value = self.read(run.content, run.reading, self.check)
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
            if result is None and value is not None:
                result = (float(value) if isinstance(value, Decimal) else value) if self.shows else "…"
            sentence = run.sentences[-1] if rejects else ""
            run.trace.append(Step(self.name, self.source, rule, result, failed, rejects, sentence, warnings))
        return value


class _Unmapped(FieldStep):
    """Stands for a field that the mapping does not fill."""

    __slots__ = ()

    def __init__(self) -> None:
        self.rejects, self.fixed = False, None

    def get(self, run: Run) -> None:
        return None

    def value(self, run: Run) -> None:
        return None

    def settle(self, run: Run, value: Any, **_: Any) -> None:
        return None


_UNMAPPED: Final = _Unmapped()


def field_step(sources: Mapping[str, Source], name: str, check: Check, **options: Any) -> FieldStep:
    """Return the step of a field, whether or not the mapping fills it. `options` are those of `FieldStep`."""
    source = sources.get(name)
    return _UNMAPPED if source is None else FieldStep(name, source, check, **options)


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
