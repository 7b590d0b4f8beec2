"""Problems of a mapping that its last events show: suspicious amounts, a path that vanished or changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Other paths are left out of sentences, because a path in quotes can hold any text.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_.\[\]*-]{1,100}")
_RULES: Final[Mapping[str, str]] = {
    "hundredfold": "are about 100 times the usual amount or its hundredth: cents and units are mixed",
    "all_equal": "have the same amount",
    "zero": "have the amount 0",
    "currency": "have another currency than the account",
    "hundredths": "are in cents, as other amounts of their events or the name of the field say",
}


@dataclass(frozen=True, slots=True)
class SuspectAmounts:
    """How many of a mapping's last purchases meet a rule for suspicious amounts."""

    mapping: int
    rule: str
    path: str | None
    events: int
    purchases: int

    @property
    def reason(self) -> str:
        return f"{self.rule} {self.mapping}"

    @property
    def sentence(self) -> str:
        field = "currency" if self.rule == "currency" else "value"
        where = f"{field} ({self.path})" if self.path and _PLAIN_PATH.fullmatch(self.path) else field
        which = f"{self.events:,} of the last {self.purchases:,} purchases"
        return f"{which} {_RULES[self.rule]}. Field: {where}."


@dataclass(frozen=True, slots=True)
class SchemaDrift:
    """A mapped path that a mapping's last events lack, and an unmapped one that may be its successor.

    `is_text` says whether they have it as a text, which it was not before, or no longer as one; None if they
    lack it.
    """

    mapping: int
    path: str
    successor: str | None
    events: int
    is_text: bool | None = None

    @property
    def reason(self) -> str:
        return f"{self.path} {self.mapping}"

    @property
    def sentence(self) -> str:
        path = self.path if _PLAIN_PATH.fullmatch(self.path) else "a mapped field"
        if self.is_text is not None:
            now, before = ("text", "number") if self.is_text else ("number", "text")
            return f"The last {self.events:,} events have {path} as a {now}, which was a {before} before."
        text = f"The last {self.events:,} events do not have {path}, which most events before them had."
        if self.successor is not None and _PLAIN_PATH.fullmatch(self.successor):
            text += f" {self.successor} looks like its new name."
        return text
