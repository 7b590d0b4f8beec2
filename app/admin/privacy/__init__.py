"""Erase and find the events of persons; consent records."""
