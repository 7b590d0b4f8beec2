"""Personal data: how it is found in texts, in every Unicode form, and what an erasure removes."""
