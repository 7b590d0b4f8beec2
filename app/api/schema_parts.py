"""Short constructors for JSON Schema."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
INTEGER: Schema = {"type": "integer"}
YES: Schema = {"type": "boolean"}
ANY: Schema = {"type": ["object", "null"]}


def or_null(schema: Schema) -> Schema:
    """Return the schema, with null allowed."""
    return {**schema, "type": [schema["type"], "null"]}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def members(properties: Schema, *, optional: tuple[str, ...] = (), example: Any = None) -> Schema:
    """Return the schema of an object. All members are required except the `optional` ones."""
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return schema if example is None else {**schema, "example": example}


def ref(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": f"#/components/schemas/{name}"}
