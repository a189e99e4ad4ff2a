"""`python -m semhead_lib` is `semhead`: for launchers that start a module in several processes."""

import sys

from semhead_lib.cli import main

sys.exit(main())
