"""Use cases, shared by the API, the console, the commands and the configuration files. Without HTTP.

A use case returns a value or raises `Refusal` (`refusals.py`). A use case that takes the context acts for
`context.caller`, and opens its own transaction. A use case that takes a connection acts in the transaction of
its caller: for example, a configuration file is applied in a single transaction.
`mappings/` has drafts, published versions (`mappings/publishing.py`) and pinned event names.
`destinations/settings.py` creates and changes destinations.

Request bodies are in `inputs.py`. The resources of use cases are in `context.py`. Callers and scopes are in
`access/`. Labels and help texts of forms are in `catalog.py`. `copies.py` copies members that types share.
"""
