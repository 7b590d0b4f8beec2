"""Why Amazon can find fewer people and conversions than were sent: pure analyses of keys, ids and amounts."""
