"""Decisions about when work may start.

When a lane may send: its rate, burst and circuit breaker (`pace.py`) and the estimate of Amazon's limit
(`rate_estimator.py`). `order.py` says which request comes next: live events, retries or replays, the wait for
a fuller request, and where a scan for due batches starts. `lane_limits.py` limits requests in flight.

When events are stored: `inbound_limit.py` limits the event rate of an organisation.
"""
