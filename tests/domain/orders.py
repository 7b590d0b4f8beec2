"""Random orders of a shop before a tool writes them in its own way, and what is true of their events."""

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from app.domain import strict_json

JSON = dict[str, Any]

# For each country: its currency, a mobile number as people write it, and the number's digits.
COUNTRIES: Final = {
    "DE": ("EUR", "0160 5551234", "491605551234"),
    "AT": ("EUR", "+43 (0)664 5551234", "436645551234"),
    "FR": ("EUR", "06 55 51 23 45", "33655512345"),
    "ES": ("EUR", "655 512 345", "34655512345"),
    "US": ("USD", "(212) 555-0187", "12125550187"),
    "GB": ("GBP", "07700 900123", "447700900123"),
    "PL": ("PLN", "605 551 234", "48605551234"),
    "SE": ("SEK", "070-555 12 34", "46705551234"),
    "JP": ("JPY", "090-5551-2345", "819055512345"),
    "BR": ("BRL", "(21) 95551-2345", "5521955512345"),
}
_FIRST: Final = ("Grace", "Jörg", "Noémie", "Ana-Sofía", "Zoë")
_LAST: Final = ("Hopper", "Größe", "O'Neill", "de la Cruz", "Nguyễn")
_GROUPS: Final = ("Garden", "Toys & Games", "Books")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of an event. `email` and `phone` are normalised; None if there is none that is usable."""

    at: datetime
    value: Decimal | None
    units: int | None
    currency: str | None
    email: str | None
    phone: str | None
    maid: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order before a shop writes it in its own way."""

    number: int
    at: datetime
    country: str
    currency: str
    lines: tuple[tuple[str, str, Decimal, int], ...]  # sku, group, price, quantity
    email: str | None
    second_email: str | None
    phone: str | None
    digits: str
    first: str
    last: str
    maid: str | None
    random: random.Random

    @property
    def total(self) -> Decimal:
        return sum((price * quantity for _, _, price, quantity in self.lines), Decimal(0))

    @property
    def minute(self) -> datetime:
        """The time of an event that has no seconds."""
        return self.at.replace(second=0)

    @property
    def units(self) -> int:
        return sum(quantity for *_, quantity in self.lines)

    def truth(
        self,
        *,
        second: bool = False,
        maid: bool = False,
        value: Decimal | None = None,
        at: datetime | None = None,
    ) -> Truth:
        """Return the truth. `second` says whether the event has the second e-mail address."""
        email = _usable(self.email) or (_usable(self.second_email) if second else None)
        device = self.maid if maid and self.maid and self.maid.strip("0-") else None
        phone = self.digits if self.phone else None
        total = self.total if value is None else value
        return Truth(at or self.at, total, self.units, self.currency, email, phone, device)


def _usable(email: str | None) -> str | None:
    return email.strip().lower() if email and "@" in email else None


def make_order(seed: int, number: int, now: datetime, countries: tuple[str, ...]) -> Order:
    rnd = random.Random(f"{seed}-{number}")
    country = rnd.choice(countries)
    currency, phone, digits = COUNTRIES[country]
    last = f"{rnd.randrange(10, 99)}"
    phone, digits = phone[:-2] + last, digits[:-2] + last
    cents = Decimal(1) if currency == "JPY" else Decimal("0.01")
    lines = tuple(
        (
            f"ART-{rnd.randrange(100, 999)}",
            rnd.choice(_GROUPS),
            rnd.randrange(199, rnd.choice((9_999, 499_999))) * cents,
            rnd.randrange(1, 5),
        )
        for _ in range(rnd.randrange(1, 4))
    )
    return Order(
        number,
        now.replace(microsecond=0) - timedelta(seconds=rnd.randrange(120, 50_000)),
        country,
        currency,
        lines,
        rnd.choice((f"Grace.{number}@Example.com", f" shopper{number}@example.org", None, "", "unknown")),
        rnd.choice((f"second{number}@example.net", None)),
        rnd.choice((phone, phone, phone, None)),
        digits,
        rnd.choice(_FIRST),
        rnd.choice(_LAST),
        rnd.choice(
            (str(UUID(int=rnd.getrandbits(128), version=4)), None, "00000000-0000-0000-0000-000000000000")
        ),
        rnd,
    )


def received(event: JSON) -> JSON:
    """Return an event as the service parses it."""
    parsed = strict_json.parse(json.dumps(event).encode())
    assert isinstance(parsed, dict)
    return parsed
