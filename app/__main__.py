"""`python -m app COMMAND`: the command line of `app.cli`."""

import os
import signal
import sys

if os.getpid() == 1:
    # The first process of a container has no default action for SIGTERM: without a handler, `docker stop`
    # would wait until its time limit. Set it first, because imports take seconds.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

if sys.argv[1:2] == ["health"]:
    # Runs every few seconds in every container: the imports of `app.cli` would cost four times its CPU.
    from app.commands import health

    sys.exit(health.main(sys.argv[2:]))

from app.cli import main

sys.exit(main())
