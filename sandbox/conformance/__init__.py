"""Conformance cases: check whether a stand-in follows Amazon's contract.

The cases are written only from the contract. They share no code with the sender or the sandbox, so that they
detect errors in both.
"""
