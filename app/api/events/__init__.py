"""Events over HTTP: intake, lists and search, the history of one event, rejections, and statistics."""
