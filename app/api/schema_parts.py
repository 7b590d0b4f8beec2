"""The few words that the descriptions of answers are made of: JSON Schema, as short as it reads."""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
INTEGER: Schema = {"type": "integer"}
YES: Schema = {"type": "boolean"}
ANY: Schema = {"type": ["object", "null"]}


def or_null(schema: Schema) -> Schema:
    """Return a schema that null fits too."""
    return {**schema, "type": [schema["type"], "null"]}


def list_of(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def members(properties: Schema, *, optional: tuple[str, ...] = (), example: Any = None) -> Schema:
    """Return the schema of an object whose members are all there but the `optional` ones."""
    made: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return made if example is None else {**made, "example": example}


def ref(name: str) -> Schema:
    """Return a reference to a named shape."""
    return {"$ref": f"#/components/schemas/{name}"}
