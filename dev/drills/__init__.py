"""Rehearsals on one machine: everything on loopback, in a temporary folder, with the sandbox as Amazon."""
