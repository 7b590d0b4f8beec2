"""The client of Amazon's API. No module opens a database connection.

`wire.py` is the Events API without I/O: requests, replies. `client.py` sends over `transport.py` and
`network.py`; `tokens.py` signs in and refreshes; `accounts.py` finds advertisers; `messages.py` redacts
Amazon's messages. `app.delivery.access_tokens` decides when a token is refreshed.
"""
