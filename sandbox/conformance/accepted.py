"""Events that Amazon accepts. Each row names the source of its rule."""

from typing import Final

from sandbox.conformance.events import GRANTED, LEFT_OUT, PURCHASE, Ago, custom, takes

TAKEN: Final = (
    takes("seg-build-001", "SEG 2.1", "an event without an id is accepted", {"eventId": LEFT_OUT}),
    takes("seg-build-010", "SEG 2.1", "a value of zero is accepted", {"value": 0}),
    takes("oas-value", "OAS 2.1", "a value may be negative except for purchases", {"value": -1.25}),
    takes(
        "seg-build-007",
        "SEG 2.1",
        "a purchase may have value, currency and units",
        {**PURCHASE, "value": 99.99, "currencyCode": "USD", "unitsSold": 2},
    ),
    takes(
        "lyt-time",
        "LYT, SEG 2.1",
        "a time may have an offset",
        {"eventTime": Ago(1, "%Y-%m-%dT%H:%M:%S-07:00")},
    ),
    takes(
        "oas-time", "OAS 2.1", "a time may have milliseconds", {"eventTime": Ago(1, "%Y-%m-%dT%H:%M:%S.250Z")}
    ),
    takes("gtmdoc-age", "GTM, LYT, AMP 2.8", "an event 20 days old is accepted", {"eventTime": Ago(20)}),
    takes(
        "seg-dataset",
        "OAS, SEG 2.2",
        "an event may have a dataset name",
        {"eventDescription.dataSetName": "Default_Events"},
    ),
    takes(
        "oas-consent",
        "OAS 2.6",
        "consent to user data alone is valid",
        {"consent": {"amazonConsent": {"amznUserData": "GRANTED"}}},
    ),
    takes(
        "seg-consent-denied",
        "SEG 2.6",
        "an event with DENIED is accepted, but not used",
        {"consent": {"amazonConsent": {"amznUserData": "DENIED", "amznAdStorage": "DENIED"}}},
    ),
    takes(
        "seg-consent-all",
        "OAS 2.6",
        "an event may have an IP address in addition to consent",
        {"consent": {"geo": {"ipAddress": "203.0.113.7"}, **GRANTED}},
    ),
    takes(
        "oas-no-consent",
        "OAS 2.6",
        "a US event needs no consent except at the EU host",
        {"consent": LEFT_OUT},
        where="not eu",
    ),
    takes(
        "seg-ldu",
        "OAS, SEG 2.1",
        "limited data use is an object",
        {"dataProcessingOptions": {"options": "LIMITED_DATA_USE"}},
    ),
    takes("oas-custom", "OAS 2.7", "13 custom fields are accepted", {"customData": custom(13)}),
    takes(
        "gtm-custom",
        "OAS, GTM 2.7",
        "a custom field may have a type",
        {"customData": [{"name": "stars", "value": "5", "dataType": "INTEGER"}]},
    ),
    takes(
        "seg-custom",
        "SEG 2.7",
        "a custom value with a dot is accepted",
        {"customData": [{"name": "price", "value": "999.99"}]},
        sure=False,
    ),
    takes(
        "oas-agent",
        "OAS 2.1",
        "a user agent of 512 characters is accepted",
        {"deviceInfo": {"userAgent": "x" * 512}},
    ),
    takes(
        "oas-aref",
        "OAS 2.1",
        "measurement tokens are pairs",
        {"arefMeasurementTokens": "AbCdEf1234.1764000000000|ZyXwVu9876.1764000000001"},
    ),
    takes("oas-partner", "OAS 2.1", "an event may have a partner", {"partner": "a-partner"}),
)
