"""Conformance cases: check whether a stand-in follows Amazon's contract. Written from the contract alone.

It shares no code with the sender nor with the sandbox, so that a mistake in either shows here.
"""
