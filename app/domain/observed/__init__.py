"""Analyse recent events, from samples without values.

`event_schema.py` finds their paths. `preview.py` and `backtest.py` show what a mapping draft would do with
these events.
"""
