"""Number plans of the countries in which Amazon advertises, for phone numbers that need no library.

The phone library takes tens of microseconds per number, and most numbers are written as `+` and digits or as
dialled in their country. A row matches only numbers that the library would accept unchanged; all others are
passed to the library. A test compares every row with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """A calling code, the trunk digit dialled before a national number, and numbers without either.

    `trunk` is None where the shape does not distinguish a national number from an international one.
    """

    code: str
    trunk: str | None
    national: str


# Source: lengths and prefixes of the phone library's metadata, limited to numbers that none of its rules
# changes.
PLANS: Final[Mapping[str, NumberingPlan]] = {
    "US": NumberingPlan("1", "", r"[2-9]\d{9}"),
    "CA": NumberingPlan("1", "", r"[2-9]\d{9}"),
    "MX": NumberingPlan("52", None, r"[2-9]\d{9}"),
    "BR": NumberingPlan("55", None, r"[1-8]\d{9,10}"),
    "GB": NumberingPlan("44", "0", r"[2-9]\d{9}"),
    "FR": NumberingPlan("33", "0", r"[1-9]\d{8}"),
    "DE": NumberingPlan("49", "0", r"[1-9]\d{7,11}"),
    "IT": NumberingPlan("39", None, r"3\d{8,9}"),
    "ES": NumberingPlan("34", None, r"[5-9]\d{8}"),
    "NL": NumberingPlan("31", "0", r"[1-9]\d{8}"),
    "BE": NumberingPlan("32", "0", r"[1-9]\d{7,8}"),
    "PL": NumberingPlan("48", None, r"[1-9]\d{8}"),
    "SE": NumberingPlan("46", "0", r"[1-9]\d{6,8}"),
    "TR": NumberingPlan("90", "0", r"[2-9]\d{9}"),
    "IN": NumberingPlan("91", "0", r"[1-9]\d{9}"),
    # 010 is Japan's international prefix.
    "JP": NumberingPlan("81", "0", r"(?:1[1-9]|[2-9]\d)\d{7,8}"),
    "AU": NumberingPlan("61", "0", r"[2-9]\d{8}"),
    "SG": NumberingPlan("65", None, r"[3-9]\d{7}"),
    "AE": NumberingPlan("971", "0", r"[2-9]\d{7,8}"),
    "SA": NumberingPlan("966", "0", r"[1-9]\d{8}"),
    "EG": NumberingPlan("20", "0", r"[1-9]\d{8,9}"),
    "ZA": NumberingPlan("27", "0", r"[1-9]\d{8}"),
}

# Numbers of all plans with their code, in one pattern. No code is a prefix of another, so at most one row
# matches.
INTERNATIONAL: Final = re.compile(
    "|".join(dict.fromkeys(f"{plan.code}(?:{plan.national})" for plan in PLANS.values())), re.ASCII
)

# By country, a number as dialled nationally: the trunk digit, and the number as a group.
AT_HOME: Final[Mapping[str, re.Pattern[str]]] = {
    country: re.compile(f"{plan.trunk}({plan.national})", re.ASCII)
    for country, plan in PLANS.items()
    if plan.trunk is not None
}
