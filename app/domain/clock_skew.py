"""The offset between a process's clock and the database's. Pure; readings are in seconds since 1970."""

MOST_SKEW_S = 30.0  # beyond this a process is not ready, although it uses the database's clock
NOTICED_S = 1.0  # beyond this, evaluated events are evaluated again


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return what to add to our clock to read the database's, after one reading of both.

    The database read its clock between our readings `before` and `after`. The time between them is delay, not
    skew: the offset changes only as far as the reading proves necessary.
    """
    return min(max(offset, database - after), database - before)
