"""`/_sandbox/…` and the pages: inspect and control the sandbox."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sandbox import faults as menu
from sandbox.advertisers import Advertiser, Advertisers
from sandbox.journal import Journal, Kept
from sandbox.pages import Pages, rfc3339
from sandbox.transport import TooLarge, control_error, json, read_body, refuse_parameters
from sandbox.vocabulary import REGIONS

_MAX_BODY: Final = 4_000_000
_MAX_PAGE: Final = 10_000
_DEFAULT_PAGE: Final = 100
_LATEST: Final = 10  # events on the page of the Events manager


class _SetFaults(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_sandbox/faults`: one fault, or a list that is tried in order."""

    advertiser_id: str = menu.EVERYONE
    fault: menu.AnyFault | None = None
    faults: list[menu.AnyFault] = []


class _AddAdvertisers(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_sandbox/advertisers`."""

    advertisers: list[Advertiser]


@dataclass(frozen=True, slots=True)
class Page:
    """The query of a list."""

    advertiser_id: str | None
    since: float | None
    limit: int
    after: int


@dataclass(slots=True)
class Controls:
    """Serve the sandbox's own routes."""

    journal: Journal
    faults: menu.FaultBook
    advertisers: Advertisers
    pages: Pages
    clock: Callable[[], float]

    async def health(self, request: Request) -> Response:
        return refuse_parameters(request) or json({"status": "ok", "sandbox": True})

    async def index(self, request: Request) -> Response:
        return self.pages.show(
            "index.html",
            regions=REGIONS,
            advertisers=[each for each in self.advertisers.all() if not each.hidden],
        )

    async def events_manager(self, request: Request) -> Response:
        """Show counts by event description; `?advertiser_id=` filters them.

        `?view=ad_tag` is Amazon's other view: it lists tag-based events, which APIs do not send.
        """
        wanted = request.query_params.get("advertiser_id") or None
        rows = [
            {
                "region": region,
                "advertiser_id": advertiser_id,
                "name": name,
                "conversion_type": kind,
                "source": source,
                "dataset": dataset,
                "received": line.received,
                "excluded": f"{line.excluded / line.received:.0%}",
                "last_received": rfc3339(line.last_at),
            }
            for (region, advertiser_id, (name, kind, source, dataset)), line in sorted(
                self.journal.activity().items()
            )
            if wanted in (None, advertiser_id)
        ]
        known = sorted({one.advertiser_id for one in self.advertisers.all()})
        return self.pages.show(
            "events_manager.html",
            rows=rows,
            latest=[_latest(one) for one in islice(self.journal.latest_events(wanted), _LATEST)],
            wanted=wanted,
            known=known,
            totals=self._totals(wanted),
            is_ad_tag_view=request.query_params.get("view") == "ad_tag",
        )

    async def events(self, request: Request) -> Response:
        """List (GET) or delete (DELETE) accepted events, oldest first."""
        wanted = request.query_params.get("advertiser_id")
        if request.method == "DELETE":
            refused = refuse_parameters(request, "advertiser_id")
            return refused or json({"deleted": self.journal.empty_events(wanted)})
        page = read_page(request)
        if isinstance(page, Response):
            return page
        found = list(islice(self.journal.events(page.advertiser_id, page.since, page.after), page.limit + 1))
        shown = found[: page.limit]
        return json(
            {
                "items": [_kept(one) for one in shown],
                "next_cursor": str(shown[-1].serial) if len(found) > page.limit else None,
                "totals": self._totals(wanted),
            }
        )

    def _totals(self, wanted: str | None) -> dict[str, Any]:
        names = ("distinct", "received", "repeats", "other_bytes", "refused", "excluded")
        tallies = [
            (region, advertiser_id, tally)
            for (region, advertiser_id), tally in self.journal.tallies().items()
            if wanted in (None, advertiser_id)
        ]
        return {name: sum(getattr(tally, name) for *_, tally in tallies) for name in names} | {
            "by_advertiser": [
                {"region": region, "advertiser_id": advertiser_id}
                | {name: getattr(tally, name) for name in names}
                | {"last_received_at": rfc3339(tally.last_at)}
                for region, advertiser_id, tally in tallies
            ]
        }

    async def requests(self, request: Request) -> Response:
        """List (GET) or delete (DELETE) the requests to the events call, oldest first."""
        if request.method == "DELETE":
            if refused := refuse_parameters(request):
                return refused
            self.journal.empty_requests()
            return Response(status_code=204)
        page = read_page(request)
        if isinstance(page, Response):
            return page
        entries = (
            entry
            for entry in self.journal.requests(page.advertiser_id, page.after)
            if page.since is None or entry.received_at >= page.since
        )
        found = list(islice(entries, page.limit + 1))
        shown = found[: page.limit]
        return json(
            {
                "items": [
                    msgspec.to_builtins(one) | {"received_at": rfc3339(one.received_at)} for one in shown
                ],
                "next_cursor": str(shown[-1].serial) if len(found) > page.limit else None,
            }
        )

    async def set_faults(self, request: Request) -> Response:
        """Set (POST), list (GET) or remove (DELETE) faults."""
        accepted = () if request.method == "POST" else ("advertiser_id",)
        if refused := refuse_parameters(request, *accepted):
            return refused
        wanted = request.query_params.get("advertiser_id")
        if request.method == "DELETE":
            self.faults.clear(wanted)
            return Response(status_code=204)
        if request.method == "POST":
            asked = await _read(request, _SetFaults)
            if isinstance(asked, Response):
                return asked
            if not asked.advertiser_id:
                return control_error(422, "invalid", "advertiser_id must be an id or *.")
            if (asked.fault is None) == (not asked.faults):
                return control_error(422, "invalid", "Give either fault or faults.")
            self.faults.set(asked.advertiser_id, asked.faults if asked.fault is None else [asked.fault])
        items = [
            {
                "advertiser_id": owner,
                "fault": one.fault,
                "set_at": rfc3339(one.set_at),
                "fired": one.fired,
                "ended": one.ended,
            }
            for owner, one in self.faults.all()
            if wanted in (None, owner)
        ]
        return json({"items": items, "next_cursor": None}, 201 if request.method == "POST" else 200)

    async def list_advertisers(self, request: Request) -> Response:
        """List advertisers (GET), or add, change and hide advertisers (POST)."""
        if refused := refuse_parameters(request):
            return refused
        if request.method == "POST":
            asked = await _read(request, _AddAdvertisers)
            if isinstance(asked, Response):
                return asked
            added = asked.advertisers
            problem = next((found for one in added if (found := one.problem())), None)
            if problem is not None:
                return control_error(422, "invalid", problem)
            self.advertisers.add(added)
            return json({"items": added, "next_cursor": None}, 201)
        return json({"items": self.advertisers.all(), "next_cursor": None})


Body = TypeVar("Body", _SetFaults, _AddAdvertisers)


async def _read(request: Request, kind: type[Body]) -> Body | Response:
    """Read a control body. Unknown members are refused with their path."""
    try:
        return msgspec.json.decode(await read_body(request, _MAX_BODY), type=kind)
    except TooLarge:
        return control_error(413, "too_large", "The body is too large.")
    except msgspec.ValidationError as wrong:
        return control_error(422, "invalid", str(wrong))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return control_error(400, "malformed", "The body is not JSON.")


def _kept(one: Kept) -> dict[str, Any]:
    """Return an accepted event; `event` is null if its JSON is no longer stored."""
    return {
        "event_id": one.event_id,
        "advertiser_id": one.advertiser_id,
        "region": one.region,
        "event": None if one.body is None else msgspec.Raw(one.body),
        "received_at": rfc3339(one.first_at),
        "last_received_at": rfc3339(one.last_at),
        "payload_hash": one.digests[0].hex(),
        "payload_hashes": [digest.hex() for digest in one.digests],
        "identical": len(one.digests) == 1,
        "times": one.times,
        "request_id": one.request_id,
    }


def _latest(one: Kept) -> dict[str, Any]:
    """Return an accepted event as the Events manager lists it."""
    event = msgspec.json.decode(one.body or b"{}")
    return {
        "event_id": one.event_id,
        "name": event.get("eventDescription", {}).get("name"),
        "value": event.get("value"),
        "currency": event.get("currencyCode"),
        "units": event.get("unitsSold"),
        "match_keys": ", ".join(key["type"] for key in event.get("matchKeys", ())),
        "received_at": rfc3339(one.first_at),
    }


def read_page(request: Request) -> Page | Response:
    """Read `advertiser_id`, `since` (RFC 3339 or epoch seconds), `limit` (1 to 10,000) and `cursor`."""
    if refused := refuse_parameters(request, "advertiser_id", "since", "limit", "cursor"):
        return refused
    query = request.query_params
    limit, cursor, since = (
        query.get("limit", str(_DEFAULT_PAGE)),
        query.get("cursor", "0"),
        query.get("since"),
    )
    if not (limit.isascii() and limit.isdigit() and len(limit) < 7 and 1 <= int(limit) <= _MAX_PAGE):
        return control_error(422, "invalid", f"limit must be 1 to {_MAX_PAGE}.", {"limit": "out_of_range"})
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        return control_error(422, "invalid", "cursor must be from the previous page.", {"cursor": "invalid"})
    moment = None
    if since:
        try:
            plain = since.replace(".", "", 1)
            moment = (
                float(since)
                if plain.isascii() and plain.isdigit()
                else datetime.fromisoformat(since).timestamp()
            )
        except (ValueError, OverflowError):
            return control_error(
                422, "invalid", "since must be RFC 3339 or epoch seconds.", {"since": "not_a_time"}
            )
    return Page(query.get("advertiser_id"), moment, int(limit), int(cursor))
