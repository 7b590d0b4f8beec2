"""`python -m campaigns.chaos.tuned COMMAND …`: the product's own command line with drawn constants.

The constants stand in the environment as JSON; see `campaigns.chaos.constants`.
"""

import os
import sys

from campaigns.chaos import constants


def main() -> int:
    """Replace the constants, then run `python -m app` as it is."""
    constants.install(constants.read(os.environ.get(constants.VARIABLE, "")))
    from app.cli import main as product

    return product()


if __name__ == "__main__":
    sys.exit(main())
