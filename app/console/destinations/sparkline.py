"""Small inline charts: the points of an SVG line. Pure."""

from collections.abc import Sequence

WIDTH, HEIGHT = 112.0, 24.0
_POINTS = 24


def line(values: Sequence[float]) -> str:
    """Return the points of an SVG line in an area of 112 × 24. The value zero is at the bottom."""
    maximum = max(values) or 1
    step = WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{index * step:.0f},{HEIGHT - 2 - value / maximum * (HEIGHT - 4):.0f}"
        for index, value in enumerate(values)
    )


def condensed(values: Sequence[int]) -> list[int]:
    """Add neighbouring values up, so that at most 24 sums remain. Return the sums in order."""
    size = -(-len(values) // _POINTS)
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]
