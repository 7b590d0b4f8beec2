"""The model of a configuration file, which has destinations, limits and mappings, but no secrets."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, model_validator

from app.admin import Refusal
from app.admin.destinations.settings import NewDestination
from app.admin.incidents import AlertingInput, NotificationPreference
from app.admin.inputs import RequestBody, name_problem_code, validation_error
from app.admin.mappings.mappings import valid_draft
from app.admin.mappings.schema import DOCUMENT_SCHEMA, compile_or_refuse
from app.domain.incidents.thresholds import MUTED_UNTIL
from app.domain.mapping.document import ACTION
from app.domain.mapping.event_name import with_clean_event_name
from app.domain.mapping.presets import EXAMPLE_MAPPING

VERSION = 1
_DESTINATION_ID = r"^dst_[0-9a-z]{16,32}$"
_MAPPING_ID = r"^map_[0-9a-z]{16,32}$"


CHECK_DOCUMENTS = object()
"""The validation context with which the documents of mappings are checked too."""


def _mapping_name(name: object) -> str:
    if not isinstance(name, str) or name_problem_code(name):
        raise validation_error("invalid", "A mapping needs a name of printable characters.")
    return name


class FileEntry(BaseModel):
    """A destination or a mapping of the file."""

    _path: str = ""

    @property
    def path(self) -> str:
        """Return the path in the file, such as `destinations[0]`."""
        return self._path


class DesiredMapping(FileEntry, extra="allow", strict=True):
    """A mapping in the file. Its further members are those of its document."""

    id: Annotated[str, Field(pattern=_MAPPING_ID)] | None = None
    published: bool = True
    name: Annotated[str, BeforeValidator(_mapping_name)] = Field("", validate_default=True)

    @property
    def document(self) -> dict[str, Any]:
        """Return the document. A member that is null is left out."""
        members = {"action": ACTION, "name": self.name, **(self.model_extra or {})}
        return with_clean_event_name({name: member for name, member in members.items() if member is not None})

    def refusal(self) -> str | None:
        """Return why no destination could store or publish the document, or None."""
        try:
            document = valid_draft(self.document)
            if self.published:
                compile_or_refuse(document)
        except Refusal as refusal:
            return refusal_sentence(refusal)
        return None

    @model_validator(mode="after")
    def _check_document(self, info: ValidationInfo) -> "DesiredMapping":
        if info.context is CHECK_DOCUMENTS and (sentence := self.refusal()):
            raise validation_error("invalid", sentence)
        return self


def refusal_sentence(refusal: Refusal) -> str:
    """Return the error code of a refusal and its sentence."""
    return f"{refusal.problem.code.value}: {refusal.problem.sentence}"


def _without_window(alerting: AlertingInput | None) -> AlertingInput | None:
    if alerting is not None and MUTED_UNTIL in alerting.model_fields_set:
        raise validation_error("unknown_field", "A maintenance window is not part of the file.", MUTED_UNTIL)
    return alerting


class DesiredDestination(FileEntry, NewDestination):
    """A destination in the file. Without `id`, it is matched by its name."""

    id: Annotated[str, Field(pattern=_DESTINATION_ID)] | None = None
    status_callback: bool | None = None
    """Report final states to the journey engine. If absent, the stored value is kept."""
    alerting: Annotated[AlertingInput | None, AfterValidator(_without_window)] = None
    """Thresholds by kind of incident. If absent, the stored ones are kept."""
    notifications: NotificationPreference | None = None
    """The messages about incidents. If absent, the stored settings are kept."""
    mappings: Annotated[list[DesiredMapping], Field(max_length=1_000, default_factory=list)]


class File(RequestBody):
    """A configuration file."""

    version: Literal[1]
    destinations: Annotated[list[DesiredDestination], Field(max_length=10_000)]

    @model_validator(mode="after")
    def _place(self) -> "File":
        for number, destination in enumerate(self.destinations):
            destination._path = f"destinations[{number}]"
            for index, mapping in enumerate(destination.mappings):
                mapping._path = f"{destination.path}.mappings[{index}]"
        return self


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
    del described["$defs"]["DesiredMapping"]
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
