"""`python -m paredown` is `pare`."""

import sys

from paredown.cli import main

sys.exit(main())
