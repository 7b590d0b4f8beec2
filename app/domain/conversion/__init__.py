"""Convert an event into the finished Amazon event.

`convert.py` compiles a mapping to a plan, which converts events and reports each step for previews.
`steps.py` has the steps of a plan, `values.py` the checks of each field. Each rule is stated once.
"""
