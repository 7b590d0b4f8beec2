"""Pure decisions: no I/O, no clock, no randomness, no framework. Times and jitter are arguments.

`event.py` reads an event, `mapping` selects its values, `identity` makes match keys, `conversion` writes the
Amazon event; `outcomes` decides what follows from Amazon's reply, `pacing` when a request may be sent,
`incidents` and `notifications` what people are informed of; `observed` compares drafts with recent events.
"""
