"""`python -m semhead_lib.reproduce.quarter MINUTES DATA.tar OUT [STATE]`, or `--table OUT`: see the
package."""

import sys

from semhead_lib.reproduce.quarter.lease import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
