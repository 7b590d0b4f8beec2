"""The processes.

`api.py` and `worker.py` read the settings, open the resources and build all objects of a process.
`application.py` builds the web application from the routers. `resources.py` waits for the database,
`clients.py` builds the clients for the services of others.
"""
