"""``python -m fleetml`` is ``fleetml``."""

import sys

from fleetml.cli import main

sys.exit(main())
