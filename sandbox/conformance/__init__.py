"""Conformance cases: check whether a stand-in follows Amazon's contract.

Written only from the contract. It shares no code with the sender or the sandbox, so that it detects errors in
either.
"""
