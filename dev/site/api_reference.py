"""Write the pages of the API reference from the OpenAPI description."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """A generated page of the site."""

    title: str
    path: str
    text: str


def pages(description: dict[str, Any]) -> Iterator[Page]:
    """Yield a page for each tag of the description, and one with the schemas."""
    for tag in description["tags"]:
        operations = [
            _operation(method.upper(), path, operation)
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
        name = tag["name"].capitalize()
        text = f"# {name}\n\n{tag['description']} Rules of all routes: [API](../api.md).\n\n"
        yield Page(name, f"reference/{tag['name'].replace(' ', '-')}.md", text + "\n".join(operations))
    schemas = description["components"]["schemas"]
    text = "# Schemas\n\nBodies of requests and responses.\n\n"
    yield Page(
        "Schemas",
        "reference/schemas.md",
        text + "\n".join(_schema(name, schemas[name]) for name in sorted(schemas)),
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {operation['summary']}", f"`{method} {path}`", operation.get("description", "")]
    if parameters := operation.get("parameters"):
        lines.append(
            "| parameter | in | type | meaning |\n|---|---|---|---|\n"
            + "\n".join(map(_parameter, parameters))
        )
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"Body, `{media}`: {_type(body.get('schema', {}))}")
        if media == "application/json" and "example" in body:
            lines.append(f"```json\n{json.dumps(body['example'], indent=2, ensure_ascii=False)}\n```")
    lines.append("| status | body |\n|---|---|\n" + "\n".join(_responses(operation["responses"])))
    return "\n\n".join(filter(None, lines)) + "\n"


def _parameter(parameter: dict[str, Any]) -> str:
    needed = "" if parameter.get("required") else " (optional)"
    meaning = _cell(parameter.get("description", ""))
    return f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])}{needed} | {meaning} |"


def _responses(responses: dict[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        types = {_type(body.get("schema", {})) for body in response.get("content", {}).values()}
        yield f"| {status} | {', '.join(sorted(types)) or _cell(response.get('description', '')) or '–'} |"


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    lines = [f"## {name}", schema.get("description", "")]
    if members := schema.get("properties"):
        rows = (_member(member, each, needed=member in needed) for member, each in members.items())
        lines.append("| member | type | meaning |\n|---|---|---|\n" + "\n".join(rows))
    else:
        lines.append(_type(schema))
    return "\n\n".join(filter(None, lines)) + "\n"


def _member(name: str, schema: Any, *, needed: bool) -> str:
    meaning = _cell(schema.get("description", "")) if isinstance(schema, dict) else ""
    return f"| `{name}` | {_type(schema)}{'' if needed else ' (optional)'} | {meaning} |"


def _type(schema: Any) -> str:
    """Return a schema in words, with a link to the schema that it names."""
    if not isinstance(schema, dict):
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](schemas.md#{name.lower()})"
    if "const" in schema:
        return f"`{_cell(json.dumps(schema['const']))}`"
    if "enum" in schema:
        return ", ".join(f"`{_cell(str(each))}`" for each in schema["enum"])
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[word]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    limits = [f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema]
    text = " or ".join(kind) if isinstance(kind, list) else kind
    return text + (f" ({', '.join(limits)})" if limits else "")


_LIMITS = {
    "minimum": "≥",
    "maximum": "≤",
    "minLength": "length ≥",
    "maxLength": "length ≤",
    "format": "format",
}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
