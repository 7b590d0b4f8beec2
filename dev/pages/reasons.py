"""docs/reasons.md, from the text in `reasons.md` beside this module and the rows of `reasons.toml`."""

from collections.abc import Iterable
from pathlib import Path

from app.domain.outcomes.reasons import INGEST_REASONS, REASONS, WARNINGS, Reason


def page() -> str:
    """Return docs/reasons.md."""
    later = [reason for word, reason in REASONS.items() if word not in INGEST_REASONS]
    warnings = [f"| `{word}` | {meaning} |" for word, meaning in WARNINGS.items()]
    parts = {
        "{ingest}": _table(INGEST_REASONS.values()),
        "{delivery}": _table(later),
        "{warnings}": "\n".join(["| warning | means |", "|---|---|", *warnings]),
    }
    text = Path(__file__).with_name("reasons.md").read_text()
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _table(reasons: Iterable[Reason]) -> str:
    rows = [f"| `{reason.word}` | {reason.code} | {reason.remedy} |" for reason in reasons]
    return "\n".join(["| reason | code | what to do |", "|---|---|---|", *rows])
