"""Interpret Amazon's replies, and explain the status of events.

`outcome.py` lists the possible replies, and `settle.py` decides what happens after each. `status.py` is the
state machine of an event, and `reasons.py` lists the reason codes with remedies. `event_history.py` selects
the requests that contained an event, and explains its status.
"""
