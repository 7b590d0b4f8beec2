"""Use cases about events: lists and search, the history of one event, failures, and figures by journey."""
