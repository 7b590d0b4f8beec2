"""Rehearse incidents on one machine, in a temporary folder, with the sandbox instead of Amazon."""
