"""Pure decisions: no I/O, no clock, no randomness, no framework. Times and jitter are arguments.

`event.py` reads an event, `mapping` selects its values, `identity` makes match keys, `conversion` writes the
Amazon event; `outcomes` interprets Amazon's replies, `pacing` decides when a request may be sent, `incidents`
detects problems, `notifications` selects messages about them, `observed` compares drafts with recent events.
"""
