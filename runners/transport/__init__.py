"""Transport: what the processes of a run move between them, by MPI.

    base.py         what a run asks of it
    alone.py        one process: nothing moves
    mpi.py          the processes that mpiexec or srun started; the one file that imports mpi4py
    nccl.py         the cards of the processes, as work of a stream; the one file that imports nccl
    crew.py         who of them works which replicas, and which devices
    exchange.py     sums over processes, in the tree of netspec.planning.replica_tree
    opened.py       the transport of this process, and what ends all processes when one fails
    launcher.py     netspec run --processes: starts mpiexec, and tells how it ended
    first_death.py  which of the processes ended first
"""
