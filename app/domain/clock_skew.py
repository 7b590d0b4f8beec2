"""How far a process's clock is from the database's. Pure: readings are arguments, seconds since 1970."""

MOST_SKEW_S = 30.0  # a process further off is not ready, though it judges by the database's clock
NOTICED_S = 1.0  # what was judged by a clock this far off is judged again


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return what to add to our clock to read the database's, after one reading of both.

    The database read its clock between our readings `before` and `after`. What lies between them is delay,
    not skew: the offset moves only as far as the reading proves that it must.
    """
    return min(max(offset, database - after), database - before)
