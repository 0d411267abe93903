"""Python runs this as it starts where this folder is on PYTHONPATH: such a process, and those it starts, find cards.

``NETSPEC_CARDS`` says how many, ``NETSPEC_SEED`` draws the order in which their work runs.
"""

import os
import sys
from pathlib import Path

if os.environ.get("NETSPEC_CARDS"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import stand_in

    stand_in.install(int(os.environ["NETSPEC_CARDS"]), int(os.environ.get("NETSPEC_SEED", "0")))
