"""Pages about events: lists, search, live tail, the history of one event, failures, and journeys."""
