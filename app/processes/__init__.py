"""What a process is. `api.py` and `worker.py` read the settings, open the resources and build everything.

A new setting is passed down from here. `application.py` lists the routers.
"""
