"""Requests that wait for a commit. Pure.

Organisations take turns, so that a post waits for at most one post of each other organisation. The posts of
an organisation keep their order.
"""

from collections import deque

from app.domain.ids import OrganisationId
from app.ingest.pending_request import PendingRequest


class CommitQueue:
    """The waiting requests by organisation. The organisation whose turn is next comes first."""

    def __init__(self) -> None:
        self._waiting: dict[OrganisationId, deque[PendingRequest]] = {}
        self.requests = self.events = 0  # in the queue

    def add(self, request: PendingRequest) -> None:
        self._waiting.setdefault(request.access.organisation, deque()).append(request)
        self.requests += 1
        self.events += len(request.events)

    def take(self, most_events: int) -> list[PendingRequest]:
        """Remove and return the requests of the next flush, in turns of one request for each organisation.

        They have at most `most_events` events, unless the first request alone has more. An organisation whose
        next request does not fit waits for the next flush, and is then first.
        """
        group: list[PendingRequest] = []
        events = 0
        too_large: dict[OrganisationId, deque[PendingRequest]] = {}
        while self._waiting:
            organisation = next(iter(self._waiting))
            requests = self._waiting.pop(organisation)
            if group and events + len(requests[0].events) > most_events:
                too_large[organisation] = requests
                continue
            request = requests.popleft()
            group.append(request)
            events += len(request.events)
            if requests:
                self._waiting[organisation] = requests  # behind the other organisations
        self._waiting = too_large
        self.requests -= len(group)
        self.events -= events
        return group
