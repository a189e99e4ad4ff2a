"""Names of earlier versions, in files and commands that are still read. Nothing writes them.

One table for each kind of name; `today` applies one.
"""

from __future__ import annotations

LEASES = "claims"  # folder of a dataset in the making, now `leases`
