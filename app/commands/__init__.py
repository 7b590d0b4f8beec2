"""The commands of the command line, one module each; `app.cli` lists them.

The package `api` has the commands that only call the API. `processes.py` has `serve`, `work` and `migrate`.
A command that fails raises `CommandFailed` (`failure.py`).
"""
