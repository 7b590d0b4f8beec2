"""Generated requests, mutated code and personal values (docs/evidence/attacks.md)."""
