"""Operator commands: replay, backfill, keys, checks and conformance."""
