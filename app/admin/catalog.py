"""The catalog of destination types: labels, help texts and values for forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

from app.domain.conversion.countries import CONSENT_COUNTRIES, COUNTRIES
from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, Choice
from app.domain.destination import REGION_NAMES, Region
from app.domain.mapping.document import ACTION, MAX_CUSTOM_FIELDS
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.presets import PRESETS

_REGIONS = {
    Region.NA: (REGION_NAMES[Region.NA], "Accounts in the United States, Canada, Mexico and Brazil."),
    Region.EU: (REGION_NAMES[Region.EU], "Accounts in Europe, the Middle East, India and South Africa."),
    Region.FE: (REGION_NAMES[Region.FE], "Accounts in Japan, Australia and Singapore."),
}
_PROFILES = {
    "amazon": ("Amazon", "The rules of Amazon's own schema. Recommended."),
    "segment": (
        "Segment",
        "Gives the same hashes as Segment's connector, for advertisers who migrate from it.",
    ),
    "amazon_gtm": ("Amazon's tag template", "Gives the same hashes as Amazon's Google Tag Manager template."),
}
_GROUPS = {
    "event_attribute": "Event Attribute",
    "match_key": "Match Keys",
    "purchase": "Purchase",
    "delivery": "Delivery",
}
_CONSENT = {
    "granted": (
        "Granted",
        "All events are sent with consent granted. Send only events of people who gave consent.",
    ),
    "amazon": ("Per event, Amazon's signal", "Each event contains the consents to ad storage and user data."),
    "tcf": (
        "Per event, TCF string",
        "Each event contains a string of the IAB's Transparency and Consent Framework.",
    ),
    "gpp": ("Per event, GPP string", "Each event contains a string of the IAB's Global Privacy Platform."),
    "none": ("None", "No consent signal is sent. Choose this only where no signal is required."),
}


def _is_none(value: object) -> bool:
    return value is None


Value = TypeVar("Value")
_IfPresent = Annotated[Value, Field(exclude_if=_is_none)]


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
    consent_modes: list[Option]
    currencies: list[str]
    countries: list[CatalogCountry]


def _field(name: str, label: str, kind: str, required: bool, help_text: str, **more: Any) -> FormField:
    return FormField(name=name, label=label, type=kind, required=required, help=help_text, **more)


def _options(rows: Mapping[Any, tuple[str, str]]) -> list[Option]:
    return [Option(value=str(value), label=label, help=text) for value, (label, text) in rows.items()]


def _choices(rows: Mapping[str, Choice]) -> list[Option]:
    return [Option(choice.value, choice.label, choice.help) for choice in rows.values()]


AMAZON = DestinationType(
    type="amazon_conversions_api",
    name="Amazon Conversions API",
    vendor="Amazon Ads",
    summary="Send conversion events to Amazon DSP, server to server and in real time.",
    help=(
        "You need an Amazon DSP account, its advertiser id, region and currency, and a user who may "
        "allow access through Amazon sign-in. Create the destination, connect it, publish a mapping, and "
        "attach it to a Send to Destinations node. Amazon's Events manager shows events up to two hours "
        'later; until then it says "No activity yet". Its tab "Amazon ad tag events" lists tag-based '
        "events only."
    ),
    prerequisites=[
        "An Amazon DSP account.",
        "The advertiser id: in the DSP console under Advertisers, the numeric ID next to the name.",
        "The account's currency.",
        "A user who may allow access through Amazon sign-in.",
    ],
    connect_label="Connect Amazon Conversions API",
    fields=[
        _field("name", "Destination Name", "text", True, "Display name.", max_length=200),
        _field(
            "advertiser_id",
            "Advertiser ID",
            "text",
            True,
            "The DSP ad account id: digits, or amzn1.ads-account.g.…; not the entity id.",
        ),
        _field(
            "region",
            "Account Region",
            "select",
            True,
            "Where the DSP account operates.",
            options=_options(_REGIONS),
        ),
        _field(
            "currency",
            "Account Currency",
            "select",
            True,
            "Used for purchase events unless the event specifies a currency.",
            options=[Option(value=code, label=code) for code in sorted(CURRENCIES)],
        ),
        _field(
            "identity_profile",
            "Identity Profile",
            "select",
            False,
            "How match keys are normalised before hashing. Recommended: Amazon.",
            default="amazon",
            options=_options(_PROFILES),
        ),
        _field(
            "dataset_name",
            "Dataset Name",
            "text",
            False,
            "Groups events in Amazon Ads Data Manager. 5 to 100 letters, digits, _ or -.",
        ),
        _field(
            "rate_limit",
            "Rate Limit",
            "object",
            False,
            "Requests per second to Amazon, with up to 500 events each.",
            default={"requests_per_second": 5, "burst": 5},
        ),
    ],
    actions=[
        Option(
            value=ACTION,
            label="Send Events to Amazon",
            help="Sends your conversion events to Amazon DSP through Journeys.",
        )
    ],
    mapping_groups=[Option(value=value, label=label) for value, label in _GROUPS.items()],
    mapping_fields=[
        MappingField(
            name=field.name,
            label=field.label,
            group=field.group,
            type=field.takes,
            required=field.name == "event_timestamp",
            help=field.help,
        )
        for field in FIELDS.values()
    ],
    custom_data=CustomDataForm(
        label="Custom Data Fields", add_label="+ Add Mapping Field", max=MAX_CUSTOM_FIELDS
    ),
    event_types=_choices(EVENT_TYPES),
    event_sources=_choices(EVENT_SOURCES),
    presets=[
        MappingPreset(
            event_type=preset.event_type,
            label=EVENT_TYPES[preset.event_type].label,
            needs=list(preset.needs),
            only_here=list(preset.only),
            mapping=preset.document(),
        )
        for preset in PRESETS
    ],
    consent_modes=_options(_CONSENT),
    currencies=sorted(CURRENCIES),
    countries=[CatalogCountry(code, code in CONSENT_COUNTRIES) for code in sorted(COUNTRIES)],
)

TYPES = (AMAZON,)


def search(words: str | None) -> list[DestinationType]:
    """Return the destination types with all these words in name, vendor, summary or help, in any case."""
    wanted = (words or "").casefold().split()
    return [kind for kind in TYPES if all(word in _text(kind) for word in wanted)]


def _text(kind: DestinationType) -> str:
    return " ".join((kind.type, kind.name, kind.vendor, kind.summary, kind.help)).casefold()
