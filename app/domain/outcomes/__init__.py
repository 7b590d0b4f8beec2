"""Interpret Amazon's replies, and explain the status of events.

`outcome.py` lists the replies, `settle.py` decides what happens next, retry waits included, `status.py` is
the state machine, `reasons.py` lists the reason codes with their remedies, `explain.py` writes the sentences.
`missing_endpoint.py` decides when 404s park a destination and how often it is probed. `failure_cause.py`
adds Amazon's code and message to a reason, `rejection_details.py` has the sentences of recorded rejections,
and `event_history.py` selects the attempts of one event.
"""
