"""What recent events show: their schema (`event_schema.py`, from samples without values), the match keys
that they carry (`coverage.py`), and what a draft would do to them (`preview.py`, `backtest.py`).
"""
