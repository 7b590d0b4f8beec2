"""The console: HTML pages for people, rendered on the server.

A route calls use cases of `app.admin`; a pure view (`*_view.py`) turns their results into text and numbers; a
template prints them. `secured_page.py` checks session, scopes and form token, `pages.py` renders, `router.py`
lists every route, and `confirmations.py` shows on the next page what an action did.
"""
