"""Write and compile one Python function for a mapping.

The generated function reads all fields without a call for each of them. It looks up a shared parent once,
such as `user` for `user.email` and `user.phone`. Its source contains no text of a mapping: names, constants
and readers are bound to variables.
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
from app.domain.mapping.reading import Reading
from app.domain.mapping.sources import Source, unchecked

_NOTHING: Final[dict[str, Any]] = {}
_MOST_STEPS: Final = 4
_numbers: Final = count(1)


@lru_cache(maxsize=1024)
def _compiled(source: str, name: str) -> CodeType:
    """Compile a source and register it in `linecache`, so that tracebacks and debuggers show its lines.

    Mappings with the same fields have the same source, so they share compiled code and differ only in the
    bound values.
    """
    filename = f"<{name} {next(_numbers)}>"
    code = compile(source, filename, "exec")
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    # Remove the source from `linecache` when the code is gone. The code can outlive its entry in this cache.
    function_code = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
    weakref.finalize(function_code, linecache.cache.pop, filename, None).atexit = False
    return code


class FunctionBuilder:
    """Collects the lines of a function, and the values that they use, and compiles them.

    The generated function must return None for every event that it does not handle.
    """

    def __init__(self, name: str, *parameters: str) -> None:
        self._name = name
        self._lines = [f"def {name}({', '.join(parameters)}):"]
        self._bound: dict[str, Any] = {"NOTHING": _NOTHING}
        self._members: dict[tuple[Step, ...], str] = {}
        self._variables = 0

    def add(self, *lines: str) -> None:
        self._lines += [f"    {line}" for line in lines]

    def name(self, value: Any) -> str:
        """Bind a value to a name that the function can use, and return the name."""
        name = sys.intern(f"bound_{len(self._bound)}")
        self._bound[name] = value
        return name

    def variable(self) -> str:
        """Return an unused variable name."""
        self._variables += 1
        return f"v{self._variables}"

    def read(self, source: Source) -> str:
        """Add lines that read a source from the variable `content`, and return the result's variable name.

        `Source.read` treats a blank text as absent, but these lines keep it.
        """
        variable = self.variable()
        steps = None if source.path is None or source.rule else parse_path(source.path)
        if steps is None or len(steps) > _MOST_STEPS or not all(type(step) is str for step in steps):
            read, reading, check = map(self.name, (source.read, Reading(), unchecked))
            self.add(f"{variable} = {read}(content, {reading}, {check})")
            return variable
        self.add(f"{variable} = {self._member(steps[:-1])}.get({self.name(steps[-1])})")
        if source.default is not None:
            self.add(f"if {variable} is None: {variable} = {self.name(source.default)}")
        return variable

    def _member(self, steps: tuple[Step, ...]) -> str:
        """Add lines that read the object at a path, unless such lines exist. Return its variable name.

        The lines read an absent or blank value as an empty object, and return None for any other type.
        """
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
        """Compile and return the function. `bound` has the values of all other names in its lines."""
        names = {**self._bound, **bound}
        exec(_compiled("\n".join(self._lines), self._name), names)  # noqa: S102
        function: Callable[..., Any] = names[self._name]
        return function
