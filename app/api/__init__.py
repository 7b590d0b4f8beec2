"""The HTTP API: one module per resource, with its routes and its request and response models.

Shared by the routes: `auth.py` and `secured_route.py` (authentication and scopes), `errors.py` (the only
status codes), `paging.py`, `etags.py`, `export.py` (CSV and NDJSON: one column per member of the response
model), `openapi.py`. Models about events are in `event_models.py`. The exports of the console read the pages
in `event_pages.py` and `audit_models.py` too. A route calls a use case of `app.admin`.
"""
