"""Does a stand-in keep Amazon's contract? Written from the contract alone.

It shares nothing with what sends to Amazon, nor with the sandbox: a slip in either must show here.
"""
