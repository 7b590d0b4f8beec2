"""Read the SQL statements of a module from the `.sql` file beside it.

Each statement stands below a line `-- name: …`. An editor, `psql` and EXPLAIN can read it without Python.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read_sql(module: str) -> Mapping[str, str]:
    """Return the statements of a module by name. `module` is its `__file__`.

    The file of a package has the name of its folder.
    """
    path = Path(module)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    _, *parts = _NAME.split(path.with_name(f"{stem}.sql").read_text("utf-8"))
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
