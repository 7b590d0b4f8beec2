"""The processes.

`api.py` and `worker.py` read the settings, open the resources, build all objects and pass settings down.
`application.py` lists the routers.
"""
