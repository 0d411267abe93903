"""Runners: execute a Program, train, evaluate, predict, tune.

    execution/            a Program on open devices, one batch a call
    training/             a training run, from its request to its run directory
    transport/            what the processes of a run move between them
    trained.py            a checkpoint opened: its spec, plugins, and sessions with its parameters
    streaming.py          a set of images streamed through it
    scoring.py            evaluation of one network or several, image by image
    features.py           a layer's activations for a set of images
    export.py             a trained network as a file of other programs
    importing.py          networks of other programs as checkpoints
    inference.py          prediction for single images
    recorded_spec.py      the spec of a run or of a checkpoint
    recorded_plugins.py   the plugins of a run: recorded with it, loaded again as what they were, where trusted
    sweep.py              a list of runs, one after the other; it can be resumed
    new_spec.py           a spec that fits somebody's own images
    estimate.py           how long a training would take, from a few seconds of it
    modelled_estimate.py  how long it would take on a GPU that is not at hand, by a cost model
    process_forecast.py   what a run of several processes will take, before any of them is started
    rank_schedule.py      the clocks of processes that work the devices of one replica together
    interconnect.py       the networks between them: by name, or of a file
    lr_find.py            the learning-rate range test: a run at rising rates that leaves nothing behind
    layer_bench.py        one layer's times, beside the roofline
    torch_bench.py        PyTorch's times for that layer
    tune.py               times variants of kernels, keeps the fastest right one
    paired_timing.py      two calls timed in turn, on a machine that does other work too
"""
