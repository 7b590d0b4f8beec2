"""Use cases: why Amazon can count fewer conversions than were sent."""
