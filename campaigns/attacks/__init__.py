"""Generated requests, fuzzed readers, mutated code and personal values (docs/evidence/attacks.md)."""
