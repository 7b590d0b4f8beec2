"""The offset between the clocks of a process and of the database. Readings are in seconds since 1970."""

MOST_SKEW_S = 30.0  # with a larger offset, a process is not ready
NOTICED_S = 1.0  # after a larger change of the offset, events in progress are evaluated again


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return the seconds to add to the process's clock to get the database's time.

    The process read its clock at `before` and `after`; in between, the database read its own at `database`.
    The true offset is therefore in a range as wide as the round trip. A previous offset in the range is kept.
    """
    return min(max(offset, database - after), database - before)
