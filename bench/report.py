"""Tables and their statistics."""

from collections.abc import Iterable, Sequence
from statistics import median

from bench.pipeline import Round

MIB = 1024 * 1024


def quantile(values: Iterable[float], share: float) -> float:
    """Return the percentile of the values; NaN without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def middle(values: Iterable[float]) -> float:
    """Return the median; NaN without values."""
    found = list(values)
    return median(found) if found else float("nan")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(one) for one in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


ROUND_HEAD = (
    "events a post", "lanes", "events/s to the end", "accepted/s", "accept p50 ms", "p99",
    "to delivery p50 ms", "p99", "CPU us", "API", "worker", "Postgres", "WAL B", "of it images B",
    "database B",
)  # fmt: skip


def row_of(rounds: Sequence[Round]) -> list[object]:
    """Return the table row of rounds of one kind: medians over the rounds, latencies over all events."""
    first = rounds[0]
    return [
        first.per_post,
        first.lanes,
        middle(one.rate for one in rounds),
        middle(one.accept_rate for one in rounds),
        middle(quantile(one.accept_ms, 0.5) for one in rounds),
        middle(quantile(one.accept_ms, 0.99) for one in rounds),
        middle(quantile(one.delivered_ms, 0.5) for one in rounds),
        middle(quantile(one.delivered_ms, 0.99) for one in rounds),
        middle(one.cpu for one in rounds),
        *(middle(one.cpu_us.get(name, 0.0) for one in rounds) for name in ("api", "worker", "postgres")),
        middle(one.wal for one in rounds),
        # An image is a page without its hole, so a complete page is the upper bound.
        middle(min(one.wal, one.images * 8192) for one in rounds),
        middle(one.database for one in rounds),
    ]
