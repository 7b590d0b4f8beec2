"""Decisions about when work may start.

When a lane may send: its rate, burst and circuit breaker (`pace.py`) and the estimate of Amazon's limit
(`rate_estimator.py`). `order.py` says which request comes next: live events, retries or replays, the wait for
a fuller request, where a scan for due batches starts, and how many requests may be in flight.
`lane_limits.py` limits the leases of lanes.

When events are stored: `inbound_limit.py` limits the event rate of an organisation.
"""
