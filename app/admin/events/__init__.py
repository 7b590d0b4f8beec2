"""Use cases about events: lists and search, the history of one event, rejections, failures, figures."""
