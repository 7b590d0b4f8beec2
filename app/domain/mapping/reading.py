"""What the sources of one event share: the work that is left, and the warnings that reading noted."""

from typing import Any, Final

import msgspec

from app.domain.conversion.failures import SourceFailed

MAX_MEMBERS: Final = 2_000  # list members that are read for one event
MAX_STEPS: Final = 20_000  # pipe steps, sources, checks and list members of one event
SHORT_TEXT: Final = 64  # characters of a text that costs no further steps
CHARACTERS_PER_STEP: Final = 12  # of a longer one
OVER_BUDGET: Final = SourceFailed("transform_failed", "takes more work than one event may use")


class Reading(msgspec.Struct, eq=False):
    """The work budget and the notes of one event.

    A plan knows its own steps when it is compiled: they are charged once for each event. Only lists and long
    texts are charged while they are read. `notes` has the warnings of the field that is being read; the plan
    empties it. `lists` are those whose members are charged.
    """

    steps_left: int = MAX_STEPS
    members_left: int = MAX_MEMBERS
    notes: list[str] = []
    lists: dict[int, list[Any]] = {}

    __repr__ = object.__repr__

    def charge(self, steps: int) -> bool:
        """Charge steps, and return whether the budget suffices."""
        self.steps_left -= steps
        return self.steps_left >= 0

    def charge_text(self, text: str) -> bool:
        """Charge what work on a text costs beyond one step, and return whether the budget suffices."""
        return len(text) <= SHORT_TEXT or self.charge(len(text) // CHARACTERS_PER_STEP)

    def charge_list(self, members: list[Any], each: int = 1) -> bool:
        """Charge a list of which each member takes `each` steps, and return whether the budget suffices.

        A list that several fields read counts its members once.
        """
        if id(members) not in self.lists:
            self.members_left -= len(members)
            self.lists[id(members)] = members  # a list that is gone could give its id to another one
        return self.charge(len(members) * each) and self.members_left >= 0

    def derived(self, members: list[Any]) -> list[Any]:
        """Return a list that was made of charged members, so that they are not charged again."""
        self.lists[id(members)] = members
        return members

    def note(self, warning: str) -> None:
        """Note a warning of the field that is being read, once."""
        if warning not in self.notes:
            self.notes.append(warning)
