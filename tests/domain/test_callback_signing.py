"""Signatures of callbacks, and parsing of their secrets."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from app.domain.callback import FinalState, headers, read_secrets, render
from tests.tables import cases

AT = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
ONE, OTHER = bytes(range(24)), bytes(range(32))


def test_a_notice_is_signed_with_every_secret_in_force() -> None:
    """HMAC-SHA256 over id, time and body, joined by dots: what Standard Webhooks asks for."""
    sent = headers([ONE, OTHER], id="ntc_1", at=AT, body=b"{}")
    assert sent["webhook-timestamp"] == str(int(AT.timestamp()))
    signed = f"ntc_1.{sent['webhook-timestamp']}.{{}}".encode()
    wanted = [
        base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in (ONE, OTHER)
    ]
    assert sent["webhook-signature"] == f"v1,{wanted[0]} v1,{wanted[1]}"


def test_a_known_notice_has_the_signature_that_the_standard_gives_it() -> None:
    """The vector of the Standard Webhooks specification's libraries."""
    (secret,) = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    at = datetime.fromtimestamp(1614265330, UTC)
    sent = headers([secret], id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, body=b'{"test": 2432232314}')
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_same_events_make_the_same_bytes() -> None:
    """A second try is the same notice, to the byte."""
    state = FinalState("e", "dst_1", None, "dead", "BAD_REQUEST", "amazon_refused", AT)
    body = render([state], made_at=AT)
    assert body == render([state], made_at=AT)
    assert body.startswith(
        b'{"type":"events.final","timestamp":"2026-11-24T16:00:00Z","data":{"events":[{"event_id":"e"'
    )


@cases(
    ("text", "sentence"),
    {
        "not base64": ("whsec_!!!!", "entry 1 is not base64"),
        "short": ("whsec_c2hvcnQ=", "entry 1 must hold 24 to 64 bytes, not 5"),
        "empty": ("", "entry 1 must hold"),
    },
)
def test_an_invalid_secret_is_reported_without_its_text(text: str, sentence: str) -> None:
    """The sentence counts entries and names no value."""
    with pytest.raises(ValueError, match=sentence) as raised:
        read_secrets(text)
    assert text[6:] == "" or text[6:] not in str(raised.value)


def test_several_secrets_are_read_in_their_order() -> None:
    """The prefix may be left out."""
    text = f"whsec_{base64.b64encode(OTHER).decode()}, {base64.b64encode(ONE).decode()}"
    assert read_secrets(text) == (OTHER, ONE)
