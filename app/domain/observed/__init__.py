"""Analysis of recent events: their schema (`event_schema.py`, from samples without values), their match keys
(`coverage.py`), and the effect of a draft on them (`preview.py`, `backtest.py`).
"""
