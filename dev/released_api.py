"""Compare the API with the one of the last release: what clients rely on is neither removed nor narrowed.

`python -m dev.released_api > tests/api/released_openapi.json` keeps the current description at a release
(docs/releasing.md). `narrowed` returns what a client of the release would notice.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Parts of a description that no client depends on.
_PROSE: Final = frozenset(
    {"description", "summary", "title", "example", "examples", "tags", "servers", "operationId"}
)
_Compare = Callable[[str, dict[str, Any], dict[str, Any]], Iterator[str]]
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def skeleton(described: Any, *, names: bool = False) -> Any:
    """Return a description without its prose. In a mapping of `names`, every key is a name."""
    if isinstance(described, list):
        return [skeleton(each) for each in described]
    if not isinstance(described, dict):
        return described
    return {
        key: skeleton(each, names=key in {"properties", "schemas", "paths"} and not names)
        for key, each in described.items()
        if names or key not in _PROSE
    }


def narrowed(released: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return each removed or narrowed part of the released API as `place: change`."""
    return sorted(set(_Comparison(released, current).operations()))


@dataclass(slots=True)
class _Comparison:
    released: dict[str, Any]
    current: dict[str, Any]
    comparing: set[tuple[str, str, str]] = field(default_factory=set)

    def operations(self) -> Iterator[str]:
        for path, methods in self.released["paths"].items():
            for method, old in methods.items():
                place = f"{method.upper()} {path}"
                new = self.current["paths"].get(path, {}).get(method)
                if new is None:
                    yield f"{place}: removed"
                else:
                    yield from self._parameters(place, old, new)
                    yield from self._body(place, old.get("requestBody"), new.get("requestBody"))
                    yield from self._responses(place, old["responses"], new["responses"])

    def _parameters(self, place: str, old: Any, new: Any) -> Iterator[str]:
        before = {(each["in"], each["name"]): each for each in old.get("parameters", ())}
        after = {(each["in"], each["name"]): each for each in new.get("parameters", ())}
        for key, parameter in before.items():
            name = f"{place} parameter {key[1]}"
            if key not in after:
                yield f"{name}: removed"
            else:
                yield from self._accepted(name, parameter["schema"], after[key]["schema"])
        for key, parameter in after.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{place} parameter {key[1]}: required"

    def _body(self, place: str, old: Any, new: Any) -> Iterator[str]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield f"{place} body: required"
        for media, content in (old or {}).get("content", {}).items():
            after = (new or {}).get("content", {}).get(media)
            if after is None:
                yield f"{place} body: {media} removed"
            else:
                yield from self._accepted(f"{place} body", content.get("schema", {}), after.get("schema", {}))

    def _responses(self, place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
        for status, response in old.items():
            if not status.startswith("2"):
                continue
            if status not in new:
                yield f"{place} {status}: removed"
                continue
            for media, content in response.get("content", {}).items():
                after = new[status].get("content", {}).get(media)
                if after is None:
                    yield f"{place} {status}: {media} removed"
                else:
                    yield from self._sent(
                        f"{place} {status}", content.get("schema", {}), after.get("schema", {})
                    )

    def _accepted(self, place: str, old: Any, new: Any) -> Iterator[str]:
        """Yield why a value that was accepted is refused now."""
        yield from self._once(self._accepts, place, old, new)

    def _accepts(self, place: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        if (before := _alternatives(old)) or _alternatives(new):
            after = _alternatives(new) or [new]
            for each in before or [old]:
                found = [list(self._accepted(place, each, other)) for other in after]
                if [] not in found:
                    yield from _closest(place, found)
            return
        if refused := list(_missing(place, _values(old), _values(new), "no longer accepted")):
            yield from refused
            return
        for key in _LOWER:
            if key in new and new[key] > old.get(key, float("-inf")):
                yield f"{place}: {key} {old.get(key)} became {new[key]}"
        for key in _UPPER:
            if key in new and new[key] < old.get(key, float("inf")):
                yield f"{place}: {key} {old.get(key)} became {new[key]}"
        if "pattern" in new and new["pattern"] != old.get("pattern"):
            yield f"{place}: another pattern"
        for name in set(new.get("required", ())) - set(old.get("required", ())):
            yield f"{place}.{name}: required"
        members = new.get("properties", {})
        for name, member in old.get("properties", {}).items():
            if name in members:
                yield from self._accepted(f"{place}.{name}", member, members[name])
            elif new.get("additionalProperties") is False:
                yield f"{place}.{name}: removed"
        if "items" in old and "items" in new:
            yield from self._accepted(f"{place}[]", old["items"], new["items"])

    def _sent(self, place: str, old: Any, new: Any) -> Iterator[str]:
        """Yield what a reader of the response no longer finds, or finds with another type.

        A union may get a further object, as a list may get items of another kind.
        """
        yield from self._once(self._sends, place, old, new)

    def _sends(self, place: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
        if (before := _alternatives(old)) or _alternatives(new):
            after = _alternatives(new) or [new]
            for each in before or [old]:
                found = [list(self._sent(place, each, other)) for other in after]
                if [] not in found:
                    yield from _closest(place, found)
            types = [_types(self._resolve(each, self.released)) for each in before or [old]]
            known = None if None in types else {kind for kinds in types for kind in kinds or ()}
            for each in after:
                yield from _missing(place, _types(self._resolve(each, self.current)), known, "is a new type")
            return
        if changed := list(_missing(place, _types(new), _types(old), "is a new type")):
            yield from changed
            return
        if ("enum" in old or "const" in old) and not ("enum" in new or "const" in new):
            yield f"{place}: no longer a fixed word"
        members = new.get("properties", {})
        for name, member in old.get("properties", {}).items():
            if name not in members:
                yield f"{place}.{name}: removed"
            else:
                yield from self._sent(f"{place}.{name}", member, members[name])
        for name in set(old.get("required", ())) - set(new.get("required", ())):
            if name in members:
                yield f"{place}.{name}: may be absent"
        if "items" in old and "items" in new:
            yield from self._sent(f"{place}[]", old["items"], new["items"])

    def _once(self, compare: _Compare, place: str, old: Any, new: Any) -> Iterator[str]:
        """Compare two schemas, unless the same named ones are being compared: a schema can contain itself."""
        old, new = self._resolve(old, self.released), self._resolve(new, self.current)
        if "$name" not in old or "$name" not in new:
            yield from compare(place, old, new)
        elif (pair := (compare.__name__, old["$name"], new["$name"])) not in self.comparing:
            self.comparing.add(pair)
            yield from compare(place, old, new)
            self.comparing.remove(pair)

    @staticmethod
    def _resolve(schema: Any, document: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return {**document["components"]["schemas"][name], "$name": name}
        return schema


def _closest(place: str, found: list[list[str]]) -> list[str]:
    """Return the changes of the most similar alternative: of one with the same type, if there is one."""
    return min(found, key=lambda changes: (changes[0].startswith(f"{place}: "), len(changes)))


def _alternatives(schema: dict[str, Any]) -> list[Any]:
    return schema.get("anyOf") or schema.get("oneOf") or []


def _types(schema: dict[str, Any]) -> set[str] | None:
    """Return the JSON types that a schema permits; None for any."""
    if "const" in schema:
        return {_type_of(schema["const"])}
    if "enum" in schema:
        return {_type_of(each) for each in schema["enum"]}
    kind = schema.get("type")
    return None if kind is None else set(kind) if isinstance(kind, list) else {kind}


def _values(schema: dict[str, Any]) -> set[str] | None:
    """Return the fixed values of a schema, or its types."""
    if "const" in schema:
        return {json.dumps(schema["const"])}
    if "enum" in schema:
        return {json.dumps(each) for each in schema["enum"]}
    return _types(schema)


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), "object")


def _missing(place: str, wanted: set[str] | None, present: set[str] | None, change: str) -> Iterator[str]:
    """Yield each wanted value or type that is not present. A number may be an integer; None is any value."""
    if present is None or (wanted is not None and wanted <= present):
        return
    for each in sorted(wanted or {"any value"}):
        words = {each, "string" if each.startswith('"') else each, "number" if each == "integer" else each}
        if not words & present:
            yield f"{place}: {each} {change}"


if __name__ == "__main__":
    from app.processes.application import api_description

    described = skeleton(api_description("http://localhost:8000"))
    json.dump(described, sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")
