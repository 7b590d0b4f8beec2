"""Configuration as code: destinations, mappings and limits as one YAML file, planned, applied, exported.

`reading` takes a file apart, `planning` says what differs, `applying` makes it so in one transaction,
`showing` prints it, `commands` are the words of the command line. ADR 0015 says how things are told apart.
"""
