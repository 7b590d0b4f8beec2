"""The model of a configuration file, which has destinations, limits and mappings, but no secrets."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from app.admin.incidents.alerting import AlertingInput, NotificationPreference
from app.admin.inputs import NewDestination, RequestBody, validation_error
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.domain.incidents.thresholds import MUTED_UNTIL
from app.domain.mapping.example import EXAMPLE_MAPPING

VERSION = 1
_DESTINATION_ID = r"^dst_[0-9a-z]{16,32}$"
_MAPPING_ID = r"^map_[0-9a-z]{16,32}$"


def _without_window(alerting: AlertingInput | None) -> AlertingInput | None:
    if alerting is not None and MUTED_UNTIL in alerting.model_fields_set:
        raise validation_error("unknown_field", "A maintenance window is not part of the file.", MUTED_UNTIL)
    return alerting


class DesiredDestination(NewDestination):
    """A destination in the file. Without `id`, it is matched by its name."""

    id: Annotated[str, Field(pattern=_DESTINATION_ID)] | None = None
    status_callback: bool | None = None
    """Report final states to the journey engine. If absent, the stored value is kept."""
    alerting: Annotated[AlertingInput | None, AfterValidator(_without_window)] = None
    """Thresholds by kind of incident. If absent, the stored ones are kept."""
    notifications: NotificationPreference | None = None
    """The messages about incidents. If absent, the stored settings are kept."""
    mappings: Annotated[list[dict[str, Any]], Field(max_length=1_000, default_factory=list)]


class File(RequestBody):
    """A configuration file."""

    version: Literal[1]
    destinations: Annotated[list[DesiredDestination], Field(max_length=10_000)]


class MappingMembers(RequestBody):
    """The fields of a mapping that are not part of its document."""

    id: Annotated[str, Field(pattern=_MAPPING_ID)] | None = None
    published: bool = True


def schema() -> dict[str, Any]:
    """Return the JSON schema of the file, for editors. docs/configuration.schema.json is a copy of it."""
    described = File.model_json_schema()
    mapping = {
        **DOCUMENT_SCHEMA,
        "required": ["name"],
        "properties": {
            "id": {"type": "string", "pattern": _MAPPING_ID},
            "published": {
                "type": "boolean",
                "default": True,
                "description": "Whether events use the mapping. With false it stays a draft.",
            },
            **DOCUMENT_SCHEMA["properties"],
        },
    }
    mapping.pop("example")
    described["$defs"]["Mapping"] = mapping
    destination = described["$defs"]["DesiredDestination"]
    destination["title"] = "Destination"
    destination["properties"]["mappings"]["items"] = {"$ref": "#/$defs/Mapping"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **described,
        "title": "Amazon Conversions destinations",
        "description": "Destinations, their limits and their mappings. See docs/configuration-as-code.md.",
        "examples": [
            {
                "version": VERSION,
                "destinations": [
                    {
                        "name": "Acme US",
                        "advertiser_id": "580123456789012345",
                        "region": "NA",
                        "currency": "USD",
                        "mappings": [EXAMPLE_MAPPING],
                    }
                ],
            }
        ],
    }
