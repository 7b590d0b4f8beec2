"""Decisions about when work may start.

When a lane may send: its rate, burst and circuit breaker (`pace.py`), the estimate of Amazon's limit
(`rate_estimator.py`), the wait for a fuller request (`merge_window.py`). `fair_queueing.py` orders live
events, retries and replays. `lane_limits.py` limits requests in flight. `watermarks.py` says where a scan for
due batches starts.

When events are stored: `inbound_limit.py` limits the event rate of an organisation.
"""
