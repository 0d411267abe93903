"""Execution: a Program on open devices, one batch a call.

    session.py       a spec on devices with its parameters: train, evaluate or predict a batch
    bound.py         a Program bound to devices: each buffer an array, each step a call
    base.py          the interface of runners: stage, start, finish
    local.py         chooses the overlapped runner: threads or streams
    threads.py       CPUs: a thread for each queue of each device
    streams.py       GPUs: streams, events and captured graphs
    segments.py      an iteration on GPUs, cut where processes meet
    engines.py       by what processes exchange what lies on their devices: MPI or NCCL
    net_calls.py     steps of the queue net, over the host's memory
    shared_gradients.py  gradients that all processes of a machine see
    card_calls.py    steps of the queue net, from card to card
    replicas.py      a batch in several replicas, one after the other
    gathering.py     tensors made whole whose parts lie in several processes
    serial.py        one step after the other: the reference implementation
    results.py       what the host reads after an iteration: reports, verdicts, probabilities
    replay.py        finds the first bad number of an iteration that was not finite
    memory_check.py  whether the network fits, before anything is allocated
    trace.py         Chrome traces
"""
