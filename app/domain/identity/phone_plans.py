"""Numbering plans of the countries in which Amazon advertises, to read most phone numbers without a library.

The library `phonenumbers` takes tens of microseconds for a number. A plan matches only numbers that the
library would accept unchanged, which a test checks for every plan. All other numbers are passed to the
library.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NumberingPlan:
    """The phone numbers of a country.

    `code` is the country's calling code, and `national` matches a number without it. `trunk` is the prefix
    for calls within the country. `trunk` is None if the same digits could be a national and an international
    number.
    """

    code: str
    trunk: str | None
    national: str


# Source: lengths and prefixes in the metadata of `phonenumbers`, limited to numbers that it does not change.
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

# The numbers of all plans, preceded by the calling code. No code is a prefix of another code.
INTERNATIONAL: Final = re.compile(
    "|".join(dict.fromkeys(f"{plan.code}(?:{plan.national})" for plan in PLANS.values())), re.ASCII
)

# The numbers of each country as dialled within it. The first group is the number without the trunk prefix.
AT_HOME: Final[Mapping[str, re.Pattern[str]]] = {
    country: re.compile(f"{plan.trunk}({plan.national})", re.ASCII)
    for country, plan in PLANS.items()
    if plan.trunk is not None
}
