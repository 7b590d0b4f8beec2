"""`python -m app COMMAND`: the command line of `app.cli`."""

import sys

from app.cli import main

sys.exit(main())
