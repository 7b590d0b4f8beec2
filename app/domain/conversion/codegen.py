"""Write and compile one Python function for a mapping.

With closures, each field costs a call per field and event. The generated function reads all fields in one
body, and looks up a shared parent (`user` in `user.email` and `user.phone`) once. The source contains no text
of a mapping: names, constants and readers are bound to variables.
"""

import linecache
import sys
import weakref
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from types import CodeType
from typing import Any, Final

from app.domain.mapping.paths import Step, parse_path
from app.domain.mapping.sources import Source

_NOTHING: Final[dict[str, Any]] = {}
_MOST_STEPS: Final = 4
_numbers: Final = count(1)


@lru_cache(maxsize=1024)
def _compiled(source: str, name: str) -> CodeType:
    """Compile a source and register it in `linecache`, where tracebacks, debuggers and `inspect` find it.

    Mappings with the same fields have the same source and share its code; only the bound values differ.
    """
    filename = f"<{name} {next(_numbers)}>"
    code = compile(source, filename, "exec")
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    # The function's code may outlive this cache; its source is dropped with it.
    function_code = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    weakref.finalize(function_code, linecache.cache.pop, filename, None).atexit = False
    return code


class FunctionBuilder:
    """Builds the function. The function returns None for every event that it does not cover."""

    def __init__(self, name: str, *parameters: str) -> None:
        self._name = name
        self._lines = [f"def {name}({', '.join(parameters)}):"]
        self._bound: dict[str, Any] = {"NOTHING": _NOTHING}
        self._members: dict[tuple[Step, ...], str] = {}
        self._variables = 0

    def add(self, *lines: str) -> None:
        """Append lines to the function's body."""
        self._lines += [f"    {line}" for line in lines]

    def name(self, value: Any) -> str:
        """Bind a value to a name that the function can use, and return the name."""
        name = sys.intern(f"bound_{len(self._bound)}")  # mappings with the same fields use the same names
        self._bound[name] = value
        return name

    def variable(self) -> str:
        """Return an unused variable name."""
        self._variables += 1
        return f"v{self._variables}"

    def read(self, source: Source) -> str:
        """Write the reading of a source from `content`; return the variable with the result.

        Unlike `Source.read`, blank text is kept.
        """
        variable = self.variable()
        steps = None if source.path is None or source.rule else parse_path(source.path)
        if steps is None or len(steps) > _MOST_STEPS or not all(type(step) is str for step in steps):
            self.add(f"{variable} = {self.name(source.read)}(content)")
            return variable
        self.add(f"{variable} = {self._member(steps[:-1])}.get({self.name(steps[-1])})")
        if source.default is not None:
            self.add(f"if {variable} is None: {variable} = {self.name(source.default)}")
        return variable

    def _member(self, steps: tuple[Step, ...]) -> str:
        """Write the access to an object, once per path; an absent or blank one has no members."""
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
        """Compile and return the function. `bound` adds values by name."""
        names = {**self._bound, **bound}
        exec(_compiled("\n".join(self._lines), self._name), names)  # noqa: S102
        function: Callable[..., Any] = names[self._name]
        return function
