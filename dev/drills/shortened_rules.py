"""Shorten the windows of the shipped alert rules, so that a drill takes minutes instead of days."""

import re
from collections.abc import Mapping
from typing import Any, Final

from app.settings import Settings

# The duration in a drill for each shipped duration. Other shipped durations raise KeyError.
WINDOWS: Final[Mapping[str, str]] = {
    "2m": "10s", "5m": "10s", "10m": "40s", "15m": "40s", "30m": "15s", "1h": "30s", "6h": "20s", "3d": "60s",
}  # fmt: skip
HOLDS: Final[Mapping[str, str]] = {"0m": "0s", "1m": "5s", "2m": "5s", "5m": "5s", "10m": "10s", "15m": "10s"}
_AGE_LIMIT: Final = Settings.model_fields["max_event_age_days"].default * 86_400
# Rules compare ages of waiting events with these seconds: shipped comparison, comparison in a drill.
AGES: Final[Mapping[str, str]] = {
    "- 86400": f"- {_AGE_LIMIT - 40:.0f}",
    "> 900": "> 15",
    "> bool 300": "> bool 10",
    "_monitor_age_seconds) > 60": "_monitor_age_seconds) > 10",
}


def shorten(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a rule file with the durations of the drill. All else stays unchanged."""
    return {"groups": [{**group, "rules": [*map(_shortened, group["rules"])]} for group in rules["groups"]]}


def _shortened(rule: Mapping[str, Any]) -> dict[str, Any]:
    query = re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", rule["expr"])
    for shipped, drill in AGES.items():
        query = query.replace(shipped, drill)
    held = {"for": HOLDS[rule["for"]]} if "for" in rule else {}
    return {**rule, "expr": query, **held}


def describe() -> str:
    """Return a sentence for the report that lists the shortened durations."""
    parts = [
        f"{name} {', '.join(f'{shipped} to {drill}' for shipped, drill in table.items())}"
        for name, table in (("windows", WINDOWS), ("`for`", HOLDS), ("ages", AGES))
    ]
    return f"Rules of deploy/prometheus, shortened: {'; '.join(parts)}."
