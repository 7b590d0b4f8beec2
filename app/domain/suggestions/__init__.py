"""Suggest a complete mapping from events as they come.

`observations.py` collects what the events have at each path, and `names.py` says which names a field usually
has. Each of the modules `times.py`, `order_value.py`, `products.py`, `people.py`, `consents.py` and
`event_kinds.py` decides about some fields, from the names and from the values. `suggest.py` puts the mapping
together and checks it with the compiled plan. Nothing is stored: the values of events stay in this package.
"""
