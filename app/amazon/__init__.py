"""All that knows Amazon's API. No module of it opens a database connection.

`wire.py` is the Events API without I/O: requests, replies. `client.py` sends over `transport.py` and
`network.py`; `tokens.py` signs in and refreshes; `accounts.py` finds advertisers; `messages.py` redacts what
Amazon says. When a token is refreshed is decided in `app.delivery.access_tokens`.
"""
