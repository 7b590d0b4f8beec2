"""Personal data: how it is found in texts, and what an erasure removes."""
