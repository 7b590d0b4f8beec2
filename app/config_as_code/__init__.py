"""Configuration as code: destinations, mappings and limits in one YAML file.

`file` parses the file, `plan` compares it with the database, and `apply` applies it in one transaction.
`existing` reads what is stored and writes it as a file, and `commands` has the CLI, which prints the plan.
ADR 0015 describes how entries are matched.
"""
