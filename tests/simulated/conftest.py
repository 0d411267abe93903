"""Run by tests/test_cuda_simulator.py in a process of its own: numba chooses the simulator when it is imported."""

import os

collect_ignore_glob = [] if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else ["test_*.py"]
