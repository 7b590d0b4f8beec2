"""Use cases, shared by the API, the console, the commands and the configuration files. They know no HTTP.

A use case returns a value or raises `Refusal` (`refusals.py`). Most open their own transaction. Those that a
configuration file applies together act in the caller's: `mappings.py`, `publishing.py`, and create and change
in `destinations.py`. `destination_settings.py`, `mapping_drafts.py` and `mapping_versions.py` wrap them in a
transaction, for API and console.

Request bodies are in `inputs.py`, the resources of a use case in `context.py`, callers and scopes in
`access.py`, labels and help texts of forms in `catalog.py`.
"""
