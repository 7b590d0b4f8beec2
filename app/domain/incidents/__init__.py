"""When an incident opens, what it says and when it resolves.

`kinds.py` has one row per kind: severity and remedy. `thresholds.py` has the thresholds and their ranges,
`conditions.py` compares facts with them, `machine.py` holds the states and the quiet time before a resolve.
`app.incidents` reads the facts and stores the result; `app.domain.notifications` writes the messages.
"""
