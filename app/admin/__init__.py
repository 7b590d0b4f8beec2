"""Use cases, shared by the API, the console, the commands and the configuration files. No HTTP here.

A use case returns a value or raises `Refusal` (`refusals.py`). A use case that takes the context opens its
own transaction. A use case that takes a connection acts in the transaction of its caller: for example, a
configuration file is applied in a single transaction.
`mappings.py` is about drafts, `publishing.py` about published versions, `pinned_names.py` about their names.
`destination_settings.py` wraps create and change of `destinations.py` in a transaction.

Request bodies are in `inputs.py`, the resources of a use case in `context.py`, and callers and scopes in
`access.py`. Labels and help texts of forms are in `catalog.py`.
"""
