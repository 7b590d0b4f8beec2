"""Hostile inputs as bytes: how each recipe of `hostile_inputs.jsonl` becomes a request of this API.

`set` and `unset` change the fields of a valid event; `raw`, `raw_b64`, `repeat` and `gen` are bodies; `batch`
is a list with bad members; `http` is a request; `tcp` is a list of steps. Logical fields are members of the
event, and `MAPPING` reads them there.
"""

import base64
import gzip
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROWS = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text().strip().split("\n")]
MAX_BODY, MAX_EVENTS, MAX_AGE_DAYS = 5 * 1024 * 1024, 5000, 21
TRAITS = ("email", "phone", "first_name", "last_name", "maid")
MAPPING: dict[str, Any] = {
    "name": "Hostile",
    "action": "send_events",
    "event_type": {"path": "event_type"},
    "event_source": "WEBSITE",
    "event_name": "Hostile",
    "country_code": {"path": "country"},
    "fields": {
        "event_timestamp": {"path": "event_time"},
        **{name: {"path": name} for name in (*TRAITS, "value", "currency")},
        "units_sold": {"path": "units"},
    },
    "custom_data": [{"name": "brand", "path": "custom.brand"}],
    "consent": {"mode": "amazon", "user_data": "consent.amznUserData", "ad_storage": "consent.amznAdStorage"},
}
_numbers = itertools.count()


@dataclass(frozen=True)
class Target:
    """Where requests go, and with which keys."""

    destination: str
    mapping: str
    key: str
    admin: str


def event(**fields: Any) -> dict[str, Any]:
    """Return a valid event with an id of its own and these fields changed."""
    return {
        "event_id": f"hostile-{next(_numbers)}",
        "event_type": "ADD_TO_SHOPPING_CART",
        "event_time": _stamp(timedelta(minutes=-2)),
        "email": "canary.person@example.com",
        "phone": "+1 206 555 0142",
        "first_name": "Canaryfirst",
        "last_name": "Canarylast",
        "country": "US",
        "value": 12.5,
        "units": 1,
        "custom": {"brand": "acme"},
        "consent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"},
        **{name: made(value) for name, value in fields.items()},
    }


def made(value: Any) -> Any:
    """Return a value, where it is a recipe the value that it describes."""
    if isinstance(value, dict):
        match value.get("gen"):
            case "repeat":
                return value["unit"] * value["n"] + value.get("post", "")
            case "now_plus":
                return _stamp(timedelta(seconds=value["seconds"]))
            case "now_minus":
                return _stamp(-timedelta(days=MAX_AGE_DAYS + 1))
        return {name: made(inner) for name, inner in value.items()}
    return value


def _stamp(offset: timedelta) -> str:
    return (datetime.now(UTC) + offset).strftime("%Y-%m-%dT%H:%M:%SZ")


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return a request with these header fields and the length of its body."""
    # An empty Content-Type is sent as it is.
    fields = {"Host": "x", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def bytes_of(row: dict[str, Any], target: Target) -> list[bytes | str]:
    """Return what is sent for a row: segments, and the steps `half_close` and `reset`."""
    recipe = row["payload_recipe"]
    match recipe["op"]:
        case "tcp":
            return [_step(step, target) for step in recipe["steps"]]
        case "http":
            return [_http(recipe, target)]
        case "gen" if recipe["name"] == "custom_attrs":
            custom = [{"name": f"c{i}", "path": f"custom.c{i}"} for i in range(recipe["n"])]
            return [_json(target, "PATCH", _mapping_path(target), {**MAPPING, "custom_data": custom})]
        case _:
            headers = {"Content-Encoding": "gzip"} if "gzip" in recipe.get("name", "") else {}
            return [_post(target, _body(recipe), **headers)]


def _post(target: Target, body: bytes, **headers: str) -> bytes:
    path = f"/events?destination_id={target.destination}&mapping_id={target.mapping}"
    usual = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    return request("POST", path, {**usual, **headers}, body)


def _json(target: Target, method: str, path: str, body: Any) -> bytes:
    headers = {"Authorization": f"Bearer {target.admin}", "Content-Type": "application/json"}
    return request(method, path, headers, json.dumps(body).encode())


def _mapping_path(target: Target) -> str:
    return f"/destinations/{target.destination}/mappings/{target.mapping}"


def _body(recipe: dict[str, Any]) -> bytes:
    match recipe["op"]:
        case "base":
            return json.dumps(event()).encode()
        case "set":
            return json.dumps(event(**recipe["fields"])).encode()
        case "unset":
            kept = {name: value for name, value in event().items() if name not in recipe["fields"]}
            return json.dumps(kept).encode()
        case "raw":
            return str(recipe["body"]).encode()
        case "raw_b64":
            return base64.b64decode(recipe["body"])
        case "repeat":
            return str(recipe["pre"] + recipe["unit"] * recipe["n"] + recipe["post"]).encode()
        case "batch":
            many = MAX_EVENTS + 1 if isinstance(recipe["n"], str) else recipe["n"]
            rows = [event() for _ in range(many)]
            for place in recipe.get("bad_at", ()):
                rows[place] = event(**recipe["bad"]["fields"])
            # Over the limit of events and not of bytes.
            return json.dumps(rows if many <= MAX_EVENTS else [{}] * many).encode()
        case "gen":
            return _generated(recipe)
        case other:
            raise ValueError(f"no recipe: {other}")


def _generated(recipe: dict[str, Any]) -> bytes:
    match recipe["name"]:
        case "siphash_neutral_keys":
            return json.dumps({f"\x01{i:06d}": i for i in range(recipe["n"])}).encode()
        case "body_bytes":
            return b'{"first_name":"' + b"a" * (MAX_BODY + 1 - 17) + b'"}'
        case "gzip_zeros":
            return gzip.compress(bytes(16 << 20))
        case "gzip_of_gzip":
            return gzip.compress(gzip.compress(json.dumps(event()).encode()))
        case "combining_marks":
            return json.dumps(event(first_name="a" + "\u0301" * recipe["n"])).encode()
        case "max_batch_max_item":
            return json.dumps([event(catalogue="b" * 9000) for _ in range(500)]).encode()
        case other:
            raise ValueError(f"no generator: {other}")


def _http(recipe: dict[str, Any], target: Target) -> bytes:
    path = recipe["path"].replace("{id}", target.destination).replace("{m}", target.mapping)
    written = recipe.get("body", {})
    if written.get("base") == "valid_destination":
        account = {"advertiser_id": "580123", "region": "NA", "currency": "USD"}
        form = {"name": f"Acme {next(_numbers)}", **account, **written["fields"]}
        return _json(target, recipe["method"], path, form)
    if written.get("base") == "valid_mapping":
        return _json(target, recipe["method"], path, _mapping_of(written["fields"]))
    headers = dict(recipe.get("headers", {"Content-Type": "application/json"}))
    for name, value in headers.items():
        if value.startswith("Bearer {repeat:a:"):
            headers[name] = "Bearer " + "a" * int(value.split(":")[-1].rstrip("}"))
    if headers and "Authorization" not in headers:
        key = target.admin if recipe.get("auth", "").startswith("admin") else target.key
        headers["Authorization"] = f"Bearer {key}"
    if "Content-Encoding" in headers or not headers:
        headers.setdefault("Content-Type", "application/json")
    return request(recipe["method"], path, headers, _body(written) if written else b"")


def _mapping_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping with these fields changed: custom fields are a list of paths with names."""
    document = {**MAPPING, "fields": dict(MAPPING["fields"])}
    for name, value in fields.items():
        if name == "custom":
            document["custom_data"] = [{"name": n, "path": path} for n, path in value.items()]
        elif name == "event_name":
            document[name] = made(value)
        else:
            document["fields"][name] = made(value)
    return document


def _step(step: dict[str, Any], target: Target) -> bytes | str:
    valid = _post(target, json.dumps(event()).encode())

    def fill(text: str) -> bytes:
        head = text.replace("{auth}", f"Authorization: Bearer {target.key}\r\n").replace("{key}", target.key)
        return head.encode().replace(b"{valid_request}", valid)

    match step:
        case {"send": text}:
            return fill(text)
        case {"send_b64": text}:
            return base64.b64decode(text)
        case {"send_repeat": parts}:
            many = fill(parts["unit"]) * parts["n"]
            return fill(parts.get("pre", "")) + many + fill(parts.get("post", ""))
        case {"half_close": _}:
            return "half_close"
        case {"rst": _}:
            return "reset"
        case _:
            raise ValueError(f"no step: {step}")
