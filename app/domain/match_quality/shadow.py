"""Compare what a draft would send with what the published version sent. Only counts remain."""

from dataclasses import dataclass, field

from app.domain.conversion.results import Conversion
from app.domain.event import Rejection
from app.domain.observed.differences import different_values

GAINED, LOST, CHANGED = range(3)


@dataclass(slots=True)
class ShadowCounts:
    """The results of a shadow. `fields` has the events that gain, lose and change each field.

    `events` = `same` + `different` + `newly_rejected` + `newly_accepted`; events that both reject are the
    same. `skipped` events were not converted, because the process was busy.
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
            case Conversion(), Conversion() if published.body != draft.body:
                self.different += 1
                for name, was, becomes in different_values(published, draft):
                    kind = GAINED if was is None else LOST if becomes is None else CHANGED
                    self.fields.setdefault(name, [0, 0, 0])[kind] += 1
            case Conversion(), Rejection():
                self.newly_rejected += 1
            case Rejection(), Conversion():
                self.newly_accepted += 1
            case _:
                self.same += 1
