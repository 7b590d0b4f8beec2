"""The commands of the command line, one module each; `app.cli` lists them.

`api_commands.py` holds the commands that only call the API, over `api_client.py`; `processes.py` holds
`serve`, `work` and `migrate`. A command that fails raises `CommandFailed` (`failure.py`).
"""
