"""The catalog of destination types: labels, help texts and values for forms (`catalog.toml`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from app.admin import copy_as
from app.domain.conversion import amazon_codes
from app.domain.conversion.consent import CONSENT_COUNTRIES
from app.domain.destination import REGION_NAMES
from app.domain.mapping.document import FIELDS, MAX_CUSTOM_FIELDS
from app.domain.mapping.presets import PRESETS, EventIdPreset, event_id_presets
from app.domain.toml_files import read_toml

Value = TypeVar("Value")
_IfPresent = Annotated[Value, Field(exclude_if=lambda value: value is None)]


@dataclass(frozen=True, slots=True)
class Option:
    """A value to choose in a form. `help` is absent if the label suffices."""

    value: str
    label: str
    help: _IfPresent[str | None] = None


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the destination's form. `max_length`, `default` and `options` are absent if not needed."""

    name: str
    label: str
    type: Annotated[str, Field(examples=["select"])]
    required: bool
    help: str
    max_length: _IfPresent[int | None] = None
    default: _IfPresent[Any] = None
    options: _IfPresent[list[Option] | None] = None


@dataclass(frozen=True, slots=True)
class MappingField:
    """A field that a mapping can fill."""

    name: Annotated[str, Field(examples=["email"])]
    label: str
    group: str
    type: Annotated[str, Field(description="The JSON type that it accepts.")]
    required: bool
    help: str


@dataclass(frozen=True, slots=True)
class CustomDataForm:
    """The custom data fields of a mapping."""

    label: str
    add_label: str
    max: int


@dataclass(frozen=True, slots=True)
class MappingPreset:
    """A starting point for a mapping of an event type."""

    event_type: str
    label: str
    needs: Annotated[list[str], Field(description="Fields that an event of the type should have.")]
    only_here: Annotated[list[str], Field(description="Fields that only this event type accepts.")]
    mapping: Annotated[dict[str, Any], Field(description="A draft, as `POST …/mappings` takes it.")]


@dataclass(frozen=True, slots=True)
class CatalogCountry:
    """A country code, and whether its events need a consent signal."""

    value: str
    consent_required: bool


@dataclass(frozen=True, slots=True)
class DestinationType:
    """A destination type, with labels, help texts and values for its forms."""

    type: str
    name: str
    vendor: str
    summary: str
    help: str
    prerequisites: list[str]
    connect_label: str
    fields: list[FormField]
    actions: list[Option]
    mapping_groups: list[Option]
    mapping_fields: list[MappingField]
    custom_data: CustomDataForm
    event_types: list[Option]
    event_sources: list[Option]
    presets: list[MappingPreset]
    event_id_presets: Annotated[
        list[EventIdPreset], Field(description="Sources of `event_id` for usual set-ups of Amazon's tag.")
    ]
    consent_modes: list[Option]
    currencies: list[str]
    countries: list[CatalogCountry]


def _choices(rows: Mapping[str, amazon_codes.Choice]) -> list[Option]:
    return [Option(choice.value, choice.label, choice.help) for choice in rows.values()]


_FILE: Final[dict[str, Any]] = read_toml(__file__)
_REGIONS: Final[dict[str, str]] = _FILE.pop("regions")
_OPTIONS: Final = {
    name: [Option(value, *texts) for value, texts in rows.items()]
    for name, rows in _FILE.pop("options").items()
} | {
    "region": [Option(region, label, _REGIONS[region]) for region, label in REGION_NAMES.items()],
    "currency": [Option(code, code) for code in sorted(amazon_codes.CURRENCIES)],
}

AMAZON: Final = DestinationType(
    **{
        **_FILE,
        "fields": [FormField(**row, options=_OPTIONS.get(row["name"])) for row in _FILE["fields"]],
        "custom_data": CustomDataForm(**_FILE["custom_data"], max=MAX_CUSTOM_FIELDS),
    },
    actions=_OPTIONS["actions"],
    mapping_groups=_OPTIONS["mapping_groups"],
    mapping_fields=[
        copy_as(MappingField, field, type=field.takes, required=field.name == "event_timestamp")
        for field in FIELDS.values()
    ],
    event_types=_choices(amazon_codes.EVENT_TYPES),
    event_sources=_choices(amazon_codes.EVENT_SOURCES),
    presets=[
        MappingPreset(
            event_type=preset.event_type,
            label=amazon_codes.EVENT_TYPES[preset.event_type].label,
            needs=list(preset.needs),
            only_here=list(preset.only),
            mapping=preset.document(),
        )
        for preset in PRESETS
    ],
    event_id_presets=list(event_id_presets()),
    consent_modes=_OPTIONS["consent_modes"],
    currencies=sorted(amazon_codes.CURRENCIES),
    countries=[CatalogCountry(code, code in CONSENT_COUNTRIES) for code in sorted(amazon_codes.COUNTRIES)],
)
_TEXT: Final = " ".join((AMAZON.type, AMAZON.name, AMAZON.vendor, AMAZON.summary, AMAZON.help)).casefold()


def search(words: str | None) -> list[DestinationType]:
    """Return the destination types with all these words in name, vendor, summary or help, in any case."""
    wanted = (words or "").casefold().split()
    return [AMAZON] if all(word in _TEXT for word in wanted) else []
