"""A stand-in for Amazon: sign-in, tokens, accounts, the Events API with all its rules, and a fault menu.

The sandbox is written only from the contract and imports nothing from the rest of the project. So it detects
errors of the sender. `create_sandbox` builds the ASGI app.

Modules: `vocabulary`, `checks` and `rules` (what Amazon accepts, pure), `signins` (codes and tokens),
`advertisers`, `faults`, `journal` (received events and requests), `access` (authorization), the routes
`events_api`, `token_endpoint`, `signin_page`, `accounts_api`, `control_api`, and below them `multistatus`,
`pages`, `transport`.
"""

from sandbox.app import create_sandbox

__all__ = ["create_sandbox"]
