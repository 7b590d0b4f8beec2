"""Decide when an incident opens and resolves, and what it says.

`kinds.py` lists the kinds of incident with severity and remedy, and their causes. `thresholds.py` has the
thresholds that an operator can set. `conditions.py` compares them with facts about destinations and the
service. `machine.py` has the states of an incident. `app.incidents` reads the facts and stores incidents.
"""
