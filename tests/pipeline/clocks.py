"""Wrong clocks: libfaketime for one process, for several, or for a whole host with its Postgres.

Only the wall clock is off. The monotonic clock is left alone, as on a machine whose date was set wrongly.
"""

from pathlib import Path

_LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
)


def library() -> Path | None:
    """Return Debian's libfaketime, or None where it is not installed."""
    return next((path for path in _LIBRARIES if path.exists()), None)


def environment(offset: str) -> dict[str, str]:
    """Return the variables under which a process sees a clock that is off by `offset`, such as `+40d`.

    With the path of a file, the process reads the offset from the file each time, so that its clock can jump.
    """
    found = library()
    if found is None:
        raise RuntimeError("libfaketime is not installed (Debian: faketime)")
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE" if offset.startswith("/") else "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
