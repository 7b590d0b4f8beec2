"""When an incident opens and resolves, and its sentences.

`kinds.py` has one row per kind: severity and remedy. `thresholds.py` has the thresholds and their ranges,
`conditions.py` compares facts with them, `machine.py` has the states and the quiet time before an incident
resolves. `app.incidents` reads the facts and stores the result; `app.domain.notifications` writes the
messages.
"""
