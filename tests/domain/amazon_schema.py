"""One Amazon event as a JSON schema of our own, from the contract's facts and stricter than Amazon's.

Amazon's schema leaves unknown members open and bounds few texts. What we send is ours to know, so here
nothing unknown is allowed and every text has the bound that the product promises.
"""

from typing import Any

from jsonschema import Draft202012Validator

from app.domain.conversion.amazon_codes import COUNTRIES, CURRENCIES

NAME = r"^[^!@#$%^&*|+=(){}\[\]<>?\\/~;\x00-\x1f\x7f-\x9f]{1,256}$"
DIGEST = "^[0-9a-f]{64}$"
HASHED = ["EMAIL", "PHONE", "FIRST_NAME", "LAST_NAME", "ADDRESS", "CITY", "STATE", "POSTAL"]
RAW = ["MAID", "RAMP_ID", "MATCH_ID", "REAL_ID", "MERKLE_ID", "KANTAR_ID", "FIP"]
TYPES = [
    "ADD_TO_SHOPPING_CART",
    "APPLICATION",
    "CHECKOUT",
    "CONTACT",
    "LEAD",
    "MOBILE_APP_FIRST_START",
    "OFF_AMAZON_PURCHASES",
    "OTHER",
    "PAGE_VIEW",
    "SEARCH",
    "SIGN_UP",
    "SUBSCRIBE",
]
SOURCES = ["ANDROID", "FIRE_TV", "IOS", "MEASUREMENT_ATTRIBUTION_PARTNER", "OFFLINE", "WEBSITE"]
TOKEN = r"[A-Za-z0-9]{10}\.[0-9]{13}"
STATUS = {"enum": ["GRANTED", "DENIED"]}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _match_key(types: list[str], value: dict[str, Any]) -> dict[str, Any]:
    values = {"type": "array", "items": value, "minItems": 1, "maxItems": 1}
    return _object(["type", "values"], type={"enum": types}, values=values)


def _text(limit: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": limit, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$"}


EVENT: dict[str, Any] = _object(
    ["eventDescription", "countryCode", "eventTime", "matchKeys", "eventId"],
    eventDescription=_object(
        ["name", "conversionType", "eventSource", "eventIngestionMethod"],
        name={"type": "string", "pattern": NAME},
        conversionType={"enum": TYPES},
        eventSource={"enum": SOURCES},
        eventIngestionMethod={"const": "SERVER_TO_SERVER"},
        dataSetName={"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{4,99}$"},
    ),
    countryCode={"enum": sorted(COUNTRIES)},
    eventTime={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"},
    matchKeys={
        "type": "array",
        "minItems": 1,
        "maxItems": 15,
        "items": {
            "oneOf": [
                _match_key(HASHED, {"type": "string", "pattern": DIGEST}),
                # An at sign alone is no address (interface §4.5).
                _match_key(RAW, {**_text(1024), "not": {"pattern": r"[^\s@]@[^\s@]+\.[^\s@.]"}}),
            ]
        },
    },
    value={"type": "number", "minimum": -(10**13), "maximum": 10**13},
    currencyCode={"enum": sorted(CURRENCIES)},
    unitsSold={"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    eventId={**_text(512), "not": {"pattern": "@"}},
    consent=_object(
        [],
        geo=_object(["ipAddress"], ipAddress=_text(64)),
        amazonConsent=_object(["amznUserData"], amznUserData={"const": "GRANTED"}, amznAdStorage=STATUS),
        tcf={"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,8192}$"},
        gpp={"type": "string", "pattern": "^DB[A-Za-z0-9_.~-]{1,4096}$"},
    ),
    dataProcessingOptions=_object(["options"], options={"const": "LIMITED_DATA_USE"}),
    customData={
        "type": "array",
        "minItems": 1,
        "maxItems": 13,
        "items": _object(
            ["name", "value"],
            name={"type": "string", "pattern": "^[A-Za-z0-9_]{1,256}$"},
            value=_text(256),
        ),
    },
    deviceInfo=_object(["userAgent"], userAgent=_text(512)),
    arefMeasurementTokens={"type": "string", "pattern": rf"^{TOKEN}(\|{TOKEN})*$"},
    amazonAdEventKey=_text(512),
) | {
    # Currency and units go out with purchases only, a purchase's value with its currency, and never below 0
    # (P11).
    "if": {
        "properties": {
            "eventDescription": {"properties": {"conversionType": {"const": "OFF_AMAZON_PURCHASES"}}}
        }
    },
    "then": {"dependentRequired": {"value": ["currencyCode"]}, "properties": {"value": {"minimum": 0}}},
    "else": {"properties": {"currencyCode": False, "unitsSold": False}},
}

VALIDATOR = Draft202012Validator(EVENT)
