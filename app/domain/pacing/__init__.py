"""Decide when a lane may send a request, and which work is next.

`token_bucket.py` has the rate and burst of a lane, and `rate_estimator.py` estimates Amazon's limit.
`circuit_breaker.py` reacts to failures. `merge_window.py` lets a request wait for more events.
`fair_queueing.py` orders live events, retries and replays, and `lane_limits.py` limits requests in flight.
Two modules limit incoming events: `inbound_limit.py` by events per second, `duty_cycle.py` by CPU time.
"""
