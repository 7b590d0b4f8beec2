"""Decisions about when work may start.

When a lane may send: its rate and burst (`token_bucket.py`), the estimate of Amazon's limit
(`rate_estimator.py`), the breaker after failures (`circuit_breaker.py`), the wait for a fuller request
(`merge_window.py`). `fair_queueing.py` orders live events, retries and replays. `lane_limits.py` limits
requests in flight. `watermarks.py` says where a scan for due batches starts.

When events are stored: `inbound_limit.py` limits the event rate of an organisation.
"""
