"""Computes incidents and sends the messages about them. Runs in every process; one of them computes."""
