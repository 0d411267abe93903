"""Training runs: from a request to a run directory.

The path of a run:

    request.py      what is asked: spec, data, overrides, devices, what to resume -> the settled spec
    launch.py       opens the run directory, and all that a run consists of
    opening.py      opens images, devices and session; loads what the parameters begin with
    run.py          the run: trains, saves, tells and records its end
    loop.py         iterations, evaluations, when to save
    checkpoint.py   the file that evaluates, predicts and trains on

What these lean on:

    resume.py       which checkpoint to go on from, and what may differ from the run that wrote it
    follow_data.py  what of a spec follows the images: the number of classes, images that are held out
    hold_data.py    which data sets stay on the devices, and their decoded images
    init_from.py    starting from the parameters of another run
    agreement.py    what the processes of a run decide alike
    shared_batches.py  batches over the processes that work a replica together: who reads them
    prefetch.py     fetches and stages the next batch while devices work
    evaluation.py   loss and errors over a split
    tally.py        accumulates the cost layers' reports
    measuring.py    metrics of the network's answers
    nonfinite.py    what ends a run or an evaluation whose numbers are not finite
    advice.py       what to type next, checked against the disk
    saver.py        writes checkpoints in a background thread, keeps the newest and the best
    journal.py      metrics, log and listeners: where events go
    listener_thread.py  a thread and a bounded queue for each listener
    signals.py      SIGINT, SIGTERM and SIGHUP
"""
