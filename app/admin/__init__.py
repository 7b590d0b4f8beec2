"""Use cases, shared by the API, the console, the commands and the configuration files. They know no HTTP.

A use case returns a value or raises `Refusal` (`refusals.py`). Those that take the context open their own
transaction; those that take a connection act in the caller's, as when a configuration file is applied.
`mappings.py` is about drafts, `publishing.py` about published versions, `pinned_names.py` about their names.
`destination_settings.py` wraps create and change of `destinations.py` in a transaction.

Request bodies are in `inputs.py`, the resources of a use case in `context.py`, callers and scopes in
`access.py`, labels and help texts of forms in `catalog.py`.
"""
