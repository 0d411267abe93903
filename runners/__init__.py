"""Runners: execute a Program, train, evaluate, predict, tune.

    execution/            a Program on open devices, one batch a call
    training/             a training run, from its request to its run directory
    inference.py          evaluation and prediction from a checkpoint
    recorded_plugins.py   the plugins of a run: recorded with it, loaded again while they are unchanged
    sweep.py              a list of runs, one after the other, that can be gone on with
    tune.py               times variants of kernels, keeps the fastest right one
"""
