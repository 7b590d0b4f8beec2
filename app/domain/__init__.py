"""Pure decisions without I/O, clock, randomness or framework. Times and jitter are arguments.

`event.py` reads an event, `mapping` selects its values, `identity` creates match keys, and `conversion`
writes the Amazon event. `outcomes` interprets Amazon's replies. `pacing` decides when a request may be sent.
`incidents` detects problems, and `notifications` selects messages about incidents. `observed` compares drafts
with recent events.
"""
