"""The commands of the command line, one module each; `app.cli` lists them.

`api_commands.py` has the commands that only call the API, through `api_client.py`; `processes.py` has
`serve`, `work` and `migrate`. A command that fails raises `CommandFailed` (`failure.py`).
"""
