"""Convert an event into the finished Amazon event.

`convert.py` does it for every event, with the readers of `field_reader.py`; `fast_path.py` and `codegen.py`
generate a function that gives the same bytes for ordinary events. A new rule belongs in both.
"""
