"""Decisions about when work may start.

Delivery: the rate and burst of a lane (`token_bucket.py`), the estimate of Amazon's limit
(`rate_estimator.py`), the breaker after failures (`circuit_breaker.py`), the wait for a fuller request
(`merge_window.py`), the order of live events, retries and replays (`fair_queueing.py`), the limits of
requests in flight (`lane_limits.py`), and where a scan for due batches starts (`watermarks.py`).

Receipt of events: the event rate of an organisation (`inbound_limit.py`), turns of organisations
(`owner_queue.py`), which of them send (`recent_senders.py`), the part of a core that large posts may use
(`duty_cycle.py`), and the wait for a larger commit (`commit_window.py`).
"""
