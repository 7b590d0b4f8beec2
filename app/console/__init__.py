"""The console: HTML pages for people, rendered on the server.

A route calls use cases of `app.admin`. A pure view (`*_view.py`) turns their results into text and numbers,
and a template prints these. `access/secured_page.py` checks session, scopes and form token. `pages.py`
renders pages, and `router.py` lists every route. `confirmations.py` shows the effect of an action on the
next page.
"""
