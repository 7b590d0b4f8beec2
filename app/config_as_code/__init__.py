"""Configuration as code: destinations, mappings and limits in one YAML file.

`read` parses the file, `plan` compares it with the database, `apply` applies it in one transaction, `show`
prints the plan, `export` writes a file, `commands` are the CLI. ADR 0015 describes how entries are matched.
"""
