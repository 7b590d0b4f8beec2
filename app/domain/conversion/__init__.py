"""Convert an event into the finished Amazon event.

`convert.py` does it for every event, with the readers of `field_reader.py`; `fast_path.py` and `codegen.py`
generate a function with the same output for ordinary events. Implement a new rule in both.
"""
