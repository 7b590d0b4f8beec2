"""HTTP connections, and the endpoint of `POST /events` in front of the framework.

`connection.py` parses requests and enforces deadlines, `request_head.py` reads what their heads say,
`admission.py` sheds load, `fast_events.py` answers `POST /events`, `middleware.py` reads bodies and wraps all
other requests. Only this package uses internals of uvicorn.
"""
