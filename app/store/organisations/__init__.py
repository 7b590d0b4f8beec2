"""Organisations: their rows, their scope in a transaction, their usage and inbound events."""
