"""A file system that forgets what was not fsynced: `python -m campaigns.chaos.forgetful LIVE SAFE MOUNT`.

LIVE is what processes see. SAFE is what a disk would hold if the power went now. Data reaches it by fsync of
its file alone; what happens to names (create, rename, unlink, truncate, …) is journalled in order and reaches
it with the next fsync of anything, as on the journalling file systems that databases are run on. Nothing
else is ever written back: this is the worst that such a file system may do. Closing a file makes nothing
safe. It has the operations that Postgres uses.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mfusepy


class Forgetful(mfusepy.Operations):
    """Passes everything to LIVE, and to SAFE what was made safe."""

    use_ns = True

    def __init__(self, live: Path, safe: Path) -> None:
        self._live = live
        self._safe = safe
        self._journal: list[Callable[[str], object]] = []
        self._dirty: dict[int, list[tuple[int, int]]] = {}
        self._written_through: set[int] = set()

    def _live_path(self, path: str) -> str:
        return str(self._live) + path

    # -- what is made safe ------------------------------------------------------------------------

    def _do(self, act: Callable[[str], object]) -> int:
        """Do something to names below LIVE now, and below SAFE with the next fsync."""
        act(str(self._live))
        self._journal.append(act)
        return 0

    def _commit_names(self) -> None:
        for act in self._journal:
            act(str(self._safe))
        self._journal.clear()

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._commit_names()
        ranges = self._dirty.pop(os.fstat(fh).st_ino, [])
        if ranges:
            safe = os.open(str(self._safe) + path, os.O_WRONLY)
            try:
                for offset, length in ranges:
                    os.pwrite(safe, os.pread(fh, length, offset), offset)
            finally:
                os.close(safe)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._commit_names()
        return 0

    # -- files ------------------------------------------------------------------------------------

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        uid, gid, _ = mfusepy.fuse_get_context()

        def create_at(root: str) -> None:
            os.close(os.open(root + path, os.O_CREAT | os.O_WRONLY, stat.S_IMODE(mode)))
            os.chown(root + path, uid, gid)

        self._do(create_at)
        return os.open(self._live_path(path), os.O_RDWR)

    def open(self, path: str, flags: int) -> int:
        # Opened to be read as well: what was written is read again when it is made safe.
        fh = os.open(self._live_path(path), (flags & os.O_TRUNC) | os.O_RDWR)
        if flags & os.O_TRUNC:
            self._journal.append(lambda root: os.truncate(root + path, 0))
            self._dirty.pop(os.fstat(fh).st_ino, None)
        if flags & (os.O_SYNC | os.O_DSYNC):
            self._written_through.add(fh)
        return fh

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, content: bytes, offset: int, fh: int) -> int:
        written = os.pwrite(fh, content, offset)
        ranges = self._dirty.setdefault(os.fstat(fh).st_ino, [])
        if ranges and ranges[-1][0] + ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + written)
        else:
            ranges.append((offset, written))
        if fh in self._written_through:
            self.fsync(path, 1, fh)
        return written

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._do(lambda root: os.truncate(root + path, length))
        inode = os.stat(self._live_path(path)).st_ino
        if inode in self._dirty:
            kept = ((at, min(size, length - at)) for at, size in self._dirty[inode] if at < length)
            self._dirty[inode] = list(kept)
        return 0

    def release(self, path: str, fh: int) -> int:
        self._written_through.discard(fh)
        os.close(fh)
        return 0

    # -- names ------------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._live_path(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino", "st_blocks")
        times = {f"st_{one}time": getattr(found, f"st_{one}time_ns") for one in "amc"}
        return {name: getattr(found, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        yield from (".", "..", *os.listdir(self._live_path(path)))

    def mkdir(self, path: str, mode: int) -> int:
        uid, gid, _ = mfusepy.fuse_get_context()

        def create_at(root: str) -> None:
            os.mkdir(root + path, stat.S_IMODE(mode))
            os.chown(root + path, uid, gid)

        return self._do(create_at)

    def unlink(self, path: str) -> int:
        return self._do(lambda root: os.unlink(root + path))

    def rmdir(self, path: str) -> int:
        return self._do(lambda root: os.rmdir(root + path))

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        if flags:
            raise mfusepy.FuseOSError(errno.EINVAL)
        return self._do(lambda root: os.rename(root + old, root + new))

    def chmod(self, path: str, mode: int) -> int:
        return self._do(lambda root: os.chmod(root + path, stat.S_IMODE(mode)))

    def chown(self, path: str, uid: int, gid: int) -> int:
        return self._do(lambda root: os.chown(root + path, uid, gid))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._live_path(path), ns=times) if times else os.utime(self._live_path(path))
        return 0


def main() -> None:
    live, safe, mount = sys.argv[1:]
    os.umask(0)
    mfusepy.FUSE(
        Forgetful(Path(live), Path(safe)),
        mount,
        foreground=True,
        nothreads=True,
        allow_other=True,
        default_permissions=True,
        fsname="forgetful",
    )


if __name__ == "__main__":
    main()
