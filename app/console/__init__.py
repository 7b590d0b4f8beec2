"""The console: HTML pages for people, rendered on the server.

A route calls use cases of `app.admin`, and a template prints their results. What a template cannot say in a
line is a pure function, in the module of the page or in a view beside it. `visits.py` checks session, scopes
and form token. `pages.py` renders pages, and `router.py` lists every route. `confirmations.py` shows the
effect of an action on the next page. An action whose form is refused calls the page of the form with
`visit.refused(error)`, which shows what was typed and what is wrong.
"""
