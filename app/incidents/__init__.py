"""Compute incidents, in one process at a time, and send messages about them."""
