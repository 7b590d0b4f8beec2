"""Mappings: where each field of the Amazon event gets its value in the customer's event.

`document.py` lists the fields with labels and help, and checks and compiles a mapping. `sources.py`,
`paths.py` and `pipes.py` (the pipe functions) read one value. `lint.py` warns of likely mistakes.
"""
