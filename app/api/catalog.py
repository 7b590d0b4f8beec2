"""The catalog of destination types: all that a form for a destination or a mapping needs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.access import Scope
from app.api.paging import PAGE, Cursor, Limit, page_from
from app.api.secured_route import SecuredRoute, requires
from app.domain.conversion.countries import CONSENT_COUNTRIES, COUNTRIES
from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES, Choice
from app.domain.destination import REGION_NAMES, Region
from app.domain.mapping.document import ACTION, MAX_CUSTOM_FIELDS
from app.domain.mapping.fields import FIELDS
from app.domain.mapping.presets import PRESETS

router = APIRouter(route_class=SecuredRoute, tags=["catalog"])

_REGIONS = {
    Region.NA: (REGION_NAMES[Region.NA], "Accounts in the United States, Canada, Mexico and Brazil."),
    Region.EU: (REGION_NAMES[Region.EU], "Accounts in Europe, the Middle East, India and South Africa."),
    Region.FE: (REGION_NAMES[Region.FE], "Accounts in Japan, Australia and Singapore."),
}
_PROFILES = {
    "amazon": ("Amazon", "The rules of Amazon's own schema. Recommended."),
    "segment": ("Segment", "Byte-compatible with Segment's connector, for advertisers who migrate from it."),
    "amazon_gtm": ("Amazon's tag template", "Compatible with Amazon's Google Tag Manager template."),
}
_GROUPS = {
    "event_attribute": "Event Attribute",
    "match_key": "Match Keys",
    "purchase": "Purchase",
    "delivery": "Delivery",
}
_CONSENT = {
    "granted": ("Granted", "All events are sent as consented. Send only events of people who gave consent."),
    "amazon": ("Per event, Amazon's signal", "Ad storage and user data are read from the event."),
    "tcf": ("Per event, TCF string", "The IAB's Transparency and Consent string is read from the event."),
    "gpp": ("Per event, GPP string", "The IAB's Global Privacy Platform string is read from the event."),
    "none": ("None", "No signal is sent; only where none is required."),
}


def _field(name: str, label: str, kind: str, required: bool, help_text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "type": kind, "required": required, "help": help_text, **more}


def _options(rows: dict[Any, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"value": str(value), "label": label, "help": text} for value, (label, text) in rows.items()]


def _choices(rows: Any) -> list[dict[str, str]]:
    choices: list[Choice] = list(rows.values())
    return [{"value": choice.value, "label": choice.label, "help": choice.help} for choice in choices]


def amazon() -> dict[str, Any]:
    """Return the only destination type, Amazon Conversions API."""
    return {
        "type": "amazon_conversions_api",
        "name": "Amazon Conversions API",
        "vendor": "Amazon Ads",
        "summary": "Send conversion events to Amazon DSP, server to server and in real time.",
        "help": (
            "You need an Amazon DSP account, its advertiser id, region and currency, and a user who may "
            "allow access through Amazon sign-in. Create the destination, connect it, publish a mapping, and "
            "attach it to a Send to Destinations node. Amazon's Events manager shows events up to two hours "
            'later; until then it says "No activity yet". Its tab "Amazon ad tag events" lists tag-based '
            "events only."
        ),
        "prerequisites": [
            "An Amazon DSP account.",
            "The advertiser id: in the DSP console under Advertisers, the numeric ID next to the name.",
            "The account's currency.",
            "A user who may allow access through Amazon sign-in.",
        ],
        "connect_label": "Connect Amazon Conversions API",
        "fields": [
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
                options=[{"value": code, "label": code} for code in sorted(CURRENCIES)],
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
                "Groups events in Amazon Ads Data Manager: 5 to 100 letters, digits, _ or -.",
            ),
            _field(
                "rate_limit",
                "Rate Limit",
                "object",
                False,
                "Requests a second to Amazon, of up to 500 events each.",
                default={"requests_per_second": 5, "burst": 5},
            ),
        ],
        "actions": [
            {
                "value": ACTION,
                "label": "Send Events to Amazon",
                "help": "Sends your conversion events to Amazon DSP through Journeys.",
            }
        ],
        "mapping_groups": [{"value": value, "label": label} for value, label in _GROUPS.items()],
        "mapping_fields": [
            {
                "name": field.name,
                "label": field.label,
                "group": str(field.group),
                "type": field.takes,
                "required": field.name == "event_timestamp",
                "help": field.help,
            }
            for field in FIELDS.values()
        ],
        "custom_data": {
            "label": "Custom Data Fields",
            "add_label": "+ Add Mapping Field",
            "max": MAX_CUSTOM_FIELDS,
        },
        "event_types": _choices(EVENT_TYPES),
        "event_sources": _choices(EVENT_SOURCES),
        "presets": [
            {
                "event_type": preset.event_type,
                "label": EVENT_TYPES[preset.event_type].label,
                "needs": list(preset.needs),
                "only_here": list(preset.only),
                "mapping": preset.document(),
            }
            for preset in PRESETS
        ],
        "consent_modes": _options(_CONSENT),
        "currencies": sorted(CURRENCIES),
        "countries": [
            {"value": code, "consent_required": code in CONSENT_COUNTRIES} for code in sorted(COUNTRIES)
        ],
    }


TYPES = (amazon(),)


def search(words: str | None) -> list[dict[str, Any]]:
    """Return the types that contain every word in name, vendor, summary or help, ignoring case."""
    wanted = (words or "").casefold().split()
    return [kind for kind in TYPES if all(word in _text(kind) for word in wanted)]


def _text(kind: dict[str, Any]) -> str:
    return " ".join(kind[member] for member in ("type", "name", "vendor", "summary", "help")).casefold()


@router.get("/catalog", summary="Search destination types")
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def catalog(
    q: Annotated[str | None, Query(max_length=200, description="Search words, such as `amazon`.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List destination types, each with what a form for a destination or a mapping needs."""
    return page_from(search(q), limit, cursor)
