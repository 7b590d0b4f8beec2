"""Code: one Python function, written line by line for one mapping and compiled.

A closure for each field costs a call for each field and event. Here the fields of a mapping stand one after
another in one function, and what several of them step through (`user` in `user.email` and `user.phone`) is
looked up once. No text of a mapping is ever part of the source: names, constants and readers are bound to
variables, and the source holds those variables only.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, Final

from app.domain.mapping.paths import Step, parse_path
from app.domain.mapping.sources import Source

_NOTHING: Final[dict[str, Any]] = {}
_MOST_STEPS: Final = 4


@lru_cache(maxsize=1024)
def _compiled(source: str, name: str) -> CodeType:
    # Mappings of one shape have one source: what differs is bound. Their code is kept once.
    return compile(source, f"<{name}>", "exec")


class FunctionBuilder:
    """The function being written. It returns None wherever it meets what it was not written for."""

    def __init__(self, name: str, *parameters: str) -> None:
        self._name = name
        self._lines = [f"def {name}({', '.join(parameters)}):"]
        self._bound: dict[str, Any] = {"NOTHING": _NOTHING}
        self._members: dict[tuple[Step, ...], str] = {}
        self._variables = 0

    def add(self, *lines: str) -> None:
        """Write lines, indented below the function's own."""
        self._lines += [f"    {line}" for line in lines]

    def name(self, value: Any) -> str:
        """Bind a value to a name that the function may use, and return it."""
        name = sys.intern(f"bound_{len(self._bound)}")  # mappings of one shape use the same names
        self._bound[name] = value
        return name

    def variable(self) -> str:
        """Return a variable that nothing uses yet."""
        self._variables += 1
        return f"v{self._variables}"

    def read(self, source: Source) -> str:
        """Write the reading of a source from `content`; return the variable with what its `read` gives.

        A blank text is left as it is, where `read` would put the default or None in its place.
        """
        found = self.variable()
        steps = None if source.path is None or source.rule else parse_path(source.path)
        if steps is None or len(steps) > _MOST_STEPS or not all(type(step) is str for step in steps):
            self.add(f"{found} = {self.name(source.read)}(content)")
            return found
        self.add(f"{found} = {self._member(steps[:-1])}.get({self.name(steps[-1])})")
        if source.default is not None:
            self.add(f"if {found} is None: {found} = {self.name(source.default)}")
        return found

    def _member(self, steps: tuple[Step, ...]) -> str:
        """Write the way to the object at a path, once; what is absent or blank there has no members."""
        if not steps:
            return "content"
        if steps not in self._members:
            member = self._members[steps] = self.variable()
            parent = self._member(steps[:-1])
            self.add(
                f"{member} = {parent}.get({self.name(steps[-1])})",
                f"if type({member}) is not dict:",
                f"    if {member} is not None and {member} != '': return None",
                f"    {member} = NOTHING",
            )
        return self._members[steps]

    def compile(self, **bound: Any) -> Callable[..., Any]:
        """Return the function, with these values beside those that were bound on the way."""
        names = {**self._bound, **bound}
        exec(_compiled("\n".join(self._lines), self._name), names)  # noqa: S102
        made: Callable[..., Any] = names[self._name]
        return made
