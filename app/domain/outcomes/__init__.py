"""Interpret Amazon's replies, and explain the status of events.

`outcome.py` lists the replies, `settle.py` decides what happens next, retry waits included, `status.py` is
the state machine, `reasons.py` lists the reason codes with their remedies, `explain.py` writes the sentences.
"""
