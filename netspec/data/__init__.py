"""Data: sources list images with their classes, and the pipeline makes batches of them in worker processes.

    which images   layout (what --data means), sources/ by type, index/ (folders, archives, classes), dataset (all that
                   opened, with labels)
    their pixels   decode, colours, jpeg (the fast path), generated/ (synthetic pictures)
    over a set     statistics, mean
    augmentation   augment/ by name, augment_chain (at work, with their random numbers)
    batches        pipeline (the data loader), workers/, shuffle (order and random numbers), resident (of images that
                   the devices hold)
"""
