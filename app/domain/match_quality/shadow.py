"""Compare what a draft would send with what the published version sent. Only counts remain."""

from dataclasses import dataclass, field

from app.domain.conversion.results import Conversion
from app.domain.event import Rejection
from app.domain.observed.differences import sent_fields

GAINED, LOST, CHANGED = range(3)


@dataclass(slots=True)
class ShadowCounts:
    """The results of a shadow. `fields` has the events that gain, lose and change each field.

    `events` = `same` + `different` + `newly_rejected` + `newly_accepted` + events that both reject. `skipped`
    events were not converted, because the process was busy.
    """

    events: int = 0
    same: int = 0
    different: int = 0
    newly_rejected: int = 0
    newly_accepted: int = 0
    skipped: int = 0
    fields: dict[str, list[int]] = field(default_factory=dict)

    def add(self, published: Conversion | Rejection, draft: Conversion | Rejection) -> None:
        """Count one event."""
        self.events += 1
        match published, draft:
            case Conversion(), Conversion():
                if published.body == draft.body:
                    self.same += 1
                else:
                    self.different += 1
                    self._compare(published, draft)
            case Conversion(), Rejection():
                self.newly_rejected += 1
            case Rejection(), Conversion():
                self.newly_accepted += 1
            case _:
                self.same += 1

    def _compare(self, published: Conversion, draft: Conversion) -> None:
        was, becomes = sent_fields(published), sent_fields(draft)
        for name in was.keys() | becomes.keys():
            if was.get(name) != becomes.get(name):
                kind = GAINED if name not in was else LOST if name not in becomes else CHANGED
                self.fields.setdefault(name, [0, 0, 0])[kind] += 1

    def merge(self, other: "ShadowCounts") -> None:
        """Add the results of another process."""
        for name in ("events", "same", "different", "newly_rejected", "newly_accepted", "skipped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, numbers in other.fields.items():
            before = self.fields.get(name, [0, 0, 0])
            self.fields[name] = [a + b for a, b in zip(before, numbers, strict=True)]
