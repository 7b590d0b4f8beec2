"""Interpret Amazon's replies, and explain the status of events.

`outcome.py` lists the possible replies, and `settle.py` decides what happens after each. `status.py` is the
state machine of an event. `reasons.py` lists the reason codes with remedies, and `explain.py` writes the
explanation of a status. `event_history.py` selects the requests that contained an event.
"""
