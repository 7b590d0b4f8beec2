"""Cases of the sign-in: the page, the token endpoint, and the calls that list visible accounts."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx

from sandbox.conformance.answers import problem
from sandbox.conformance.caller import SCOPE, Caller, Differs, document
from sandbox.conformance.requests import Case

_TOKEN_LENGTH: Final = 2048


def _allow(caller: Caller) -> None:
    back = caller.authorize("allow", state="another-state")
    if back.get("state") != "another-state" or not back.get("code"):
        raise Differs("the redirect does not contain code and state")
    if back.get("scope", SCOPE) != SCOPE:
        raise Differs("the returned scope is different")


def _deny(caller: Caller) -> None:
    back = caller.authorize("deny")
    if back.get("error") != "access_denied" or "code" in back:
        raise Differs(f"the redirect has error={back.get('error')}")


def _exchange(caller: Caller) -> None:
    _tokens(caller.redeem(_code(caller)))


def _refresh(caller: Caller) -> None:
    fresh = _tokens(caller.exchange(_refreshing(caller)))
    response = caller.profiles(Authorization=f"Bearer {fresh['access_token']}")
    if response.status_code != 200:
        raise Differs(f"with the fresh token the profiles return {response.status_code}")


def _again(caller: Caller) -> None:
    code = _code(caller)
    _tokens(caller.redeem(code))
    _error(caller.redeem(code), "invalid_grant", 400)


def _pkce(caller: Caller) -> None:
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = {"code_challenge": challenge, "code_challenge_method": "S256"}
    _tokens(caller.redeem(_code(caller, **asked), code_verifier=verifier))
    wrong = caller.redeem(_code(caller, **asked), code_verifier=secrets.token_urlsafe(48))
    _error(wrong, "invalid_grant", 400)


def _refused(form: Mapping[str, str], error: str, *statuses: int) -> Callable[[Caller], None]:
    def check(caller: Caller) -> None:
        _error(caller.exchange({**_refreshing(caller), **form}), error, *statuses)

    return check


def _without_token(caller: Caller) -> None:
    _error(caller.exchange({"grant_type": "refresh_token"}), "invalid_request", 400)


def _stray_authorization(caller: Caller) -> None:
    response = caller.exchange(_refreshing(caller), headers={"Authorization": f"Bearer {caller.token}"})
    if response.is_success:
        raise Differs("it succeeded, but Amazon's fails")


def _as_json(caller: Caller) -> None:
    who = {"client_id": caller.client_id, "client_secret": caller.client_secret}
    response = caller.ask("POST", "/auth/o2/token", json={**who, **_refreshing(caller)})
    if response.is_success:
        raise Differs("it worked")


def _profiles(caller: Caller) -> None:
    shown = document(_good(caller.profiles()))
    if not isinstance(shown, list):
        raise Differs("the response is not a list")
    for one in shown:
        if "profileId" not in one or one.get("accountInfo", {}).get("type") not in {
            "vendor",
            "seller",
            "agency",
        }:
            raise Differs("a profile has no id, or its account is neither vendor nor seller nor agency")


def _profiles_without(caller: Caller) -> None:
    response = caller.profiles(Authorization="Bearer Atza|none")
    problem(response.status_code, document(response), 401)


def _profiles_header(caller: Caller) -> None:
    headers = {"Authorization": f"Bearer {caller.token}", "Amazon-Ads-ClientId": caller.client_id}
    response = caller.ask("GET", "/v2/profiles", headers=headers)
    if response.is_success:
        raise Differs("it succeeded with Amazon-Ads-ClientId")


def _accounts(caller: Caller) -> None:
    shown = document(_good(caller.accounts({"maxResults": 100})))
    rows = shown.get("advertiserAccounts") if isinstance(shown, dict) else None
    if not isinstance(rows, list):
        raise Differs("there is no list advertiserAccounts")
    for one in rows:
        if not one.get("advertiserAccountId") or not isinstance(one.get("alternateIds"), list):
            raise Differs("an account has no id or no alternateIds")


def _advertisers(caller: Caller) -> None:
    shown = document(_good(caller.dsp_advertisers()))
    rows = shown.get("response", shown.get("advertisers")) if isinstance(shown, dict) else None
    if not isinstance(rows, list) or type(shown.get("totalResults")) is not int:
        raise Differs("there is no totalResults with a list of advertisers")
    if not all(isinstance(one, dict) and str(one.get("advertiserId", "")).isdecimal() for one in rows):
        raise Differs("an advertiser has no numeric id")


def _code(caller: Caller, **asked: str) -> str:
    code = caller.authorize("allow", **asked).get("code")
    if code is None:
        raise Differs("the redirect contains no code")
    return code


def _refreshing(caller: Caller) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": caller.refresh_token}


def _good(response: httpx.Response) -> httpx.Response:
    if response.status_code != 200:
        raise Differs(f"returned {response.status_code}")
    return response


def _tokens(response: httpx.Response) -> dict[str, Any]:
    tokens = document(_good(response))
    if not isinstance(tokens, dict):
        raise Differs("the response is not a JSON object")
    for name in ("access_token", "refresh_token"):
        if not isinstance(tokens.get(name), str) or not 0 < len(tokens[name]) <= _TOKEN_LENGTH:
            raise Differs(f"{name} is not a text of up to {_TOKEN_LENGTH} characters")
    if str(tokens.get("token_type", "")).lower() != "bearer":
        raise Differs("token_type is not bearer")
    if type(tokens.get("expires_in")) is not int or tokens["expires_in"] <= 0:
        raise Differs("expires_in is not a number of seconds")
    return tokens


def _error(response: httpx.Response, error: str, *statuses: int) -> None:
    headers = document(response)
    said = headers.get("error") if isinstance(headers, dict) else None
    if response.status_code not in statuses or said != error:
        raise Differs(f"returned {response.status_code} {said}, not {statuses[0]} {error}")


CASES: Final = (
    Case("oauth-allow", "DOCS 5", "Allow redirects with a code and the state", _allow),
    Case("oauth-deny", "OAuth 2.0 5", "Deny redirects with access_denied", _deny, sure=False),
    Case("oauth-code", "DOCS 5", "a code is exchanged for both tokens", _exchange),
    Case("oauth-refresh", "DOCS 5", "a refresh token returns a valid access token", _refresh),
    Case("oauth-once", "DOCS 5", "a code is valid once", _again),
    Case("oauth-pkce", "DOCS 5", "a code with a challenge requires its verifier", _pkce),
    Case(
        "oauth-grant",
        "DOCS, AMC-SEG 5",
        "an invalid refresh token is invalid_grant",
        _refused({"refresh_token": "Atzr|none"}, "invalid_grant", 400),
    ),
    Case(
        "oauth-type",
        "DOCS 5",
        "another grant type is unsupported_grant_type",
        _refused({"grant_type": "password"}, "unsupported_grant_type", 400),
    ),
    Case("oauth-missing", "DOCS 5", "a form without the token is invalid_request", _without_token),
    Case(
        "oauth-client",
        "DOCS 5",
        "another client is invalid_client",
        _refused(
            {"client_id": "amzn1.application-oa2-client.nobody", "client_secret": "none"},
            "invalid_client",
            401,
            400,
        ),
        sure=False,
    ),
    Case(
        "oauth-stray",
        "SEG 5, 8.21",
        "an Authorization header makes the token call fail",
        _stray_authorization,
    ),
    Case("oauth-form", "DOCS 5", "tokens are requested with a form, not with JSON", _as_json, sure=False),
    Case("profiles", "DOCS, SEG 5.1", "profiles are a list with ids and types", _profiles),
    Case("profiles-401", "DOCS 5.1", "with an invalid token it is 401", _profiles_without),
    Case(
        "profiles-header",
        "SEG 5.1, 8.4",
        "the client id is in the old header",
        _profiles_header,
        sure=False,
    ),
    Case("accounts", "OAS, INTRO 5.1", "advertiser accounts can be queried", _accounts, sure=False),
    Case("dsp-advertisers", "DOCS 5.1", "a profile's advertisers have numeric ids", _advertisers),
)
