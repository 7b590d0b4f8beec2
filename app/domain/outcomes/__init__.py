"""What follows from an answer of Amazon, and how an event's status is explained.

`outcome.py` lists the replies, `settle.py` decides what happens next, retry waits included, `status.py` is
the state machine, `reasons.py` lists the reason codes with their remedies, `explain.py` writes the sentences.
"""
