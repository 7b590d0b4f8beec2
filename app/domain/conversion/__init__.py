"""Convert an event into the finished Amazon event.

`convert.py` converts every event, with the readers in `field_reader.py`. `fast_path.py` and `codegen.py`
generate a faster function for ordinary events. Implement each rule in both paths, because their results must
be the same bytes.
"""
