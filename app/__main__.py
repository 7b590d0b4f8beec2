"""`python -m app COMMAND`: the command line of `app.cli`."""

import os
import signal
import sys

if os.getpid() == 1:
    # Process 1 of a container ignores SIGTERM unless it has a handler. The imports take seconds. Without this
    # handler, a `docker stop` during the imports would wait until its time limit.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

if sys.argv[1:2] == ["health"]:
    # The command `health` runs every few seconds in every container. With the imports of `app.cli` it would
    # use four times as much CPU.
    from app.commands import health

    sys.exit(health.main(sys.argv[2:]))

try:
    from app.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # also during the imports
    sys.exit(128 + signal.SIGINT)
