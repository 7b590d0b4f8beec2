"""Campaigns: long runs of the product under faults, hostile callers and generated inputs.

`./run campaign` lists them, and docs/campaigns.md says what each one shows. Campaigns use the fixtures of
`tests/`; `tests/` and the product import nothing of this package. `./run test` also runs the `test_*.py`
modules here: they are short forms of the campaigns.
"""
