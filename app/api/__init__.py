"""The HTTP API: one module per resource, with its routes and its request and response models.

The routes share some modules. `access/auth.py` authenticates, `access/secured_route.py` checks scopes, and
`errors.py` has the only table of status codes. `paging.py` and the package `http` are also shared.
`export.py` writes CSV and NDJSON, with a column for each member of a response model. The console also uses
it, and `pages.py` for its exports. A route calls a use case of `app.admin`.
"""
