"""The console: pages that are rendered on the server.

One module per page reads the request and calls use cases of `app.admin`. Where a page has decisions, its
`…_view.py` computes what is shown, purely. `templates` prints it. `router.py` lists the pages, `pages.py`
renders, `secured_page.py` and `sessions.py` know who is signed in, `wording.py` holds the labels.
"""
