"""docs/reasons.md, from the text in `reasons.md` beside this module and the rows of `reasons.toml`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from app.console.mappings.view import WARNING_SENTENCES
from app.domain.outcomes.reasons import INGEST_REASONS, REASONS, WARNINGS, Reason


def page() -> str:
    """Return docs/reasons.md."""
    later = [reason for word, reason in REASONS.items() if word not in INGEST_REASONS]
    parts = {
        "{ingest}": _table(INGEST_REASONS.values()),
        "{delivery}": _table(later),
        "{warnings}": _meanings(WARNINGS),
        "{draft_warnings}": _meanings(WARNING_SENTENCES),
    }
    text = Path(__file__).with_name("reasons.md").read_text()
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def _table(reasons: Iterable[Reason]) -> str:
    rows = [f"| `{reason.word}` | {reason.code} | {_linked(reason.remedy)} |" for reason in reasons]
    return "\n".join(["| reason | code | what to do |", "|---|---|---|", *rows])


def _linked(remedy: str) -> str:
    return remedy.replace("Damaged data in Repair the database", "[Damaged data](repair.md#damaged-data)")


def _meanings(warnings: Mapping[str, str]) -> str:
    rows = [f"| `{word}` | {meaning} |" for word, meaning in warnings.items()]
    return "\n".join(["| warning | means |", "|---|---|", *rows])
