"""The client of Amazon's API. No module of this package uses the database.

`wire.py` builds the requests and parses the replies of the Events API, without I/O. `client.py` sends
requests over `transport.py`. `tokens.py` signs in and refreshes tokens, `accounts.py` finds
advertisers, and `messages.py` redacts Amazon's messages. `app.delivery.access_tokens` decides when to refresh
a token.

Comments cite sections of Amazon's contract and, where it is unclear, decisions of this project ("P4").
docs/rules.md lists both.
"""
