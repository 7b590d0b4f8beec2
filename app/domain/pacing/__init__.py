"""When a lane may send: rate and burst (`token_bucket.py`), the estimate of Amazon's limit
(`rate_estimator.py`), the breaker after failures (`circuit_breaker.py`), the wait for a fuller request
(`merge_window.py`), the order of live events, retries and replays (`fair_queueing.py`), and the limits of
requests in flight (`lane_limits.py`). `inbound_limit.py` is the event rate of an organisation,
`duty_cycle.py` the part of a core that large posts may use.
"""
