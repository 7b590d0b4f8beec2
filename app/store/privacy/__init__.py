"""Erasures, and identifying values that were stored in clear."""
