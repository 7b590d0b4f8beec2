"""Encrypted values and the keys that encrypt them."""
