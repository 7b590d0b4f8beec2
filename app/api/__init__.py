"""The HTTP API: one module per resource, with its routes and its request and response models.

The routes share some modules. `access/auth.py` authenticates, `access/secured_route.py` checks scopes, and
`errors.py` has the only table of status codes. The package `http` is also shared. `lists.py` has the pages of
lists, and their exports as CSV and NDJSON with a column for each member of a response model. The console also
uses it, and `pages.py`. A route calls a use case of `app.admin`.
"""
