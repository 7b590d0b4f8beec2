"""API keys, people and their roles, and console sessions."""
