"""Counts in sentences."""


def quantity(number: int, singular: str, plural: str | None = None) -> str:
    """Return a count with what agrees with it: `1 batch is`, `2,000 batches are`.

    The plural is by default the singular with an s.
    """
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
