"""Destinations: their rows, sign-ins, tokens, health and figures."""
