"""Find email addresses and phone numbers in a mapping. They are refused: mappings are stored and shown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.domain.mapping.fields import FIELDS
from app.domain.privacy.personal_text import holds_personal_text

_PLACEHOLDER: Final = re.compile(r"\{[^{}]*\}")


def personal_members(document: Mapping[str, Any], members: tuple[str, ...]) -> list[str]:
    """Return the paths of the fields and rows in these members that contain an address or a phone number."""
    parts = [part for member in members for part in _parts(member, document.get(member))]
    return list(dict.fromkeys(at for at, part in parts if any(map(holds_personal_text, _texts(part)))))


def _parts(member: str, written: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(written, list):
        yield from ((f"{member}[{number}]", row) for number, row in enumerate(written))
    elif isinstance(written, dict):
        # An unknown name is checked too. It is not shown, because the name itself can be an address.
        yield from (
            (f"{member}.{name}" if name in FIELDS else member, [name, part]) for name, part in written.items()
        )
    else:
        yield member, written


def _texts(written: Any) -> Iterator[str]:
    if isinstance(written, str):
        yield written
    elif isinstance(written, dict):
        yield from written
        for name, part in written.items():
            # A placeholder of a template is no text: {login}@{host.name} is no person's address.
            yield from _texts(
                _PLACEHOLDER.sub(" ", part) if name == "template" and isinstance(part, str) else part
            )
    elif isinstance(written, list):
        for part in written:
            yield from _texts(part)
