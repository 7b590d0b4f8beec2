"""Events that Amazon refuses. Each row names the source of its rule."""

from typing import Final

from sandbox.conformance.events import (
    GRANTED,
    HASH,
    LEFT_OUT,
    PURCHASE,
    SOURCE_OF,
    TYPE,
    Ago,
    custom,
    keys,
    refuses,
)

_REQUIRED: Final = (
    "eventDescription",
    "countryCode",
    "eventTime",
    "matchKeys",
    "eventDescription.name",
    TYPE,
    SOURCE_OF,
    "eventDescription.eventIngestionMethod",
)

REFUSED: Final = (
    *(
        refuses(f"oas-{path.rpartition('.')[2]}", "OAS 2.1, 2.2", f"{path} is required", {path: LEFT_OUT})
        for path in _REQUIRED
    ),
    refuses("oas-006", "OAS 2.2", "a conversion type is one of twelve values", {TYPE: "purchase"}),
    refuses("oas-006-case", "OAS 2.2", "a conversion type is written in upper case", {TYPE: "page_view"}),
    refuses("oas-source", "OAS 2.2", "a source is one of six values", {SOURCE_OF: "FIRE_TABLET"}),
    refuses("oas-source-case", "OAS 2.2", "a source is written in upper case", {SOURCE_OF: "website"}),
    refuses(
        "oas-method",
        "OAS 2.2",
        "the ingestion method is server to server",
        {"eventDescription.eventIngestionMethod": "PIXEL"},
    ),
    refuses(
        "gtm-name",
        "GTM 2.2",
        "a name has no forbidden characters",
        {"eventDescription.name": "50% off!"},
        sure=False,
    ),
    refuses(
        "gtm-name-long",
        "GTM 2.2",
        "a name has at most 256 characters",
        {"eventDescription.name": "n" * 257},
        sure=False,
    ),
    refuses("oas-name-empty", "OAS 2.2", "a name is not empty", {"eventDescription.name": ""}, sure=False),
    refuses(
        "seg-set-ds",
        "SEG 2.2",
        "a dataset's name begins with a letter",
        {"eventDescription.dataSetName": "9_events"},
        sure=False,
    ),
    refuses("oas-country", "OAS 2.1", "UK is not in the list of countries", {"countryCode": "UK"}),
    refuses("seg-country-010", "OAS, SEG 2.1", "a country is written in upper case", {"countryCode": "us"}),
    refuses("seg-country-alpha3", "OAS, SEG 2.1", "a country has two letters", {"countryCode": "USA"}),
    refuses(
        "gtmdoc-001",
        "GTMDOC 2.1",
        "a time with a blank and no zone is refused",
        {"eventTime": Ago(1, "%Y-%m-%d %H:%M")},
    ),
    refuses("amp-time-001", "AMP 2.1", "a date without a time is refused", {"eventTime": Ago(1, "%Y-%m-%d")}),
    refuses("oas-time-number", "OAS 2.1", "a number is not a time", {"eventTime": 1764000000}),
    refuses(
        "amp-time-002", "GTM, LYT, AMP 2.8", "an event older than 21 days is refused", {"eventTime": Ago(22)}
    ),
    refuses("p6-future", "P6", "a time in the future is refused", {"eventTime": Ago(-1)}, sure=False),
    refuses("oas-keys-0", "OAS 2.3", "an event has at least one match key", {"matchKeys": []}),
    refuses("oas-keys-16", "OAS 2.3", "an event has at most 15 match keys", {"matchKeys": keys(16)}),
    refuses(
        "oas-003",
        "OAS 2.3",
        "a match key has exactly one value",
        {"matchKeys": [{"type": "EMAIL", "values": [HASH, HASH]}]},
    ),
    refuses(
        "oas-003-none",
        "OAS 2.3",
        "a match key has a value",
        {"matchKeys": [{"type": "EMAIL", "values": []}]},
    ),
    refuses(
        "oas-key-type",
        "OAS 2.3",
        "a match key's type is in the list",
        {"matchKeys": [{"type": "TWITTER", "values": ["x"]}]},
    ),
    refuses(
        "oas-key-value",
        "OAS 2.3",
        "a match key's value is a text",
        {"matchKeys": [{"type": "MATCH_ID", "values": [5]}]},
    ),
    refuses(
        "oas-hash",
        "OAS 2.3",
        "an unhashed e-mail is refused",
        {"matchKeys": [{"type": "EMAIL", "values": ["test@example.com"]}]},
        sure=False,
    ),
    refuses("oas-value-text", "OAS 2.1", "a value is a number", {"value": "99.99"}),
    refuses("oas-value-negative", "OAS 2.1", "a purchase's value is not negative", {**PURCHASE, "value": -1}),
    refuses(
        "amp-value-001", "OAS, AMP 2.1", "a value has two decimals at most", {**PURCHASE, "value": 49.999}
    ),
    refuses(
        "oas-currency", "OAS 2.4", "a currency is one of 81", {**PURCHASE, "value": 1, "currencyCode": "XXX"}
    ),
    refuses(
        "seg-currency-purchases",
        "OAS, SEG 2.1",
        "only a purchase has a currency",
        {"value": 1, "currencyCode": "USD"},
        sure=False,
    ),
    refuses("oas-units", "OAS 2.1", "units are a whole number", {**PURCHASE, "unitsSold": 1.5}),
    refuses("oas-units-large", "OAS 2.1", "units fit into 32 bits", {**PURCHASE, "unitsSold": 2**31}),
    refuses("p11-units", "P11", "units are at least one", {**PURCHASE, "unitsSold": 0}, sure=False),
    refuses("oas-custom-14", "OAS 2.7", "14 custom fields are too many", {"customData": custom(14)}),
    refuses(
        "oas-custom-number",
        "OAS 2.7",
        "a custom value is a text",
        {"customData": [{"name": "stars", "value": 5}]},
    ),
    refuses("oas-custom-value", "OAS 2.7", "a custom field has a value", {"customData": [{"name": "stars"}]}),
    refuses(
        "oas-custom-type",
        "OAS 2.7",
        "a custom type is one of three values",
        {"customData": [{"name": "stars", "value": "5", "dataType": "NUMBER"}]},
    ),
    refuses(
        "oas-010",
        "OAS, PYS 2.7",
        "a custom name has letters, digits and underscores",
        {"customData": [{"name": "lead-score", "value": "high"}]},
        sure=False,
    ),
    refuses(
        "oas-004",
        "OAS 2.6",
        "an Amazon consent includes user data",
        {"consent": {"amazonConsent": {"amznAdStorage": "GRANTED"}}},
    ),
    refuses(
        "oas-consent-word",
        "OAS 2.6",
        "consent is GRANTED or DENIED",
        {"consent": {"amazonConsent": {"amznUserData": "yes"}}},
    ),
    refuses("oas-geo", "OAS 2.6", "`geo` contains an IP address", {"consent": {"geo": {}, **GRANTED}}),
    refuses(
        "oas-eu-consent",
        "OAS, SEG, P7 2.6",
        "at the EU host an event has consent",
        {"consent": LEFT_OUT},
        where="eu",
    ),
    refuses(
        "gtm-consent-ip",
        "GTM, P7 2.6",
        "at the EU host an IP address does not count as consent",
        {"consent": {"geo": {"ipAddress": "203.0.113.7"}}},
        where="eu",
        sure=False,
    ),
    refuses(
        "gtm-consent-eea",
        "GTM, AATHELP, P7 2.6",
        "an event from the EEA has consent at any host",
        {"countryCode": "DE", "consent": LEFT_OUT},
        where="not eu",
        sure=False,
    ),
    refuses(
        "oas-ldu-list",
        "OAS, SEG1 2.1",
        "limited data use is not a list, as in an earlier API",
        {"dataProcessingOptions": ["LIMITED_DATA_USE"]},
    ),
    refuses(
        "oas-ldu-word",
        "OAS 2.1",
        "limited data use is the only processing option",
        {"dataProcessingOptions": {"options": "NONE"}},
    ),
    refuses(
        "oas-agent-long",
        "OAS 2.1",
        "a user agent has at most 512 characters",
        {"deviceInfo": {"userAgent": "x" * 513}},
    ),
    refuses(
        "oas-aref-form",
        "OAS 2.1",
        "measurement tokens are pairs",
        {"arefMeasurementTokens": "abc"},
    ),
    refuses("oas-id", "OAS 2.1", "an event's id is a text", {"eventId": 5}),
)
