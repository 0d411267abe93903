"""Data: sources list images with their classes, and the pipeline makes batches of them in worker processes.

    which images   layout (what --data means), sources/ by type, index/ (folders, archives, classes), dataset (all that
                   opened, with labels)
    their pixels   decode, colours, jpeg (the fast path), generated/ (synthetic pictures), mean
    batches        pipeline (the data loader), workers/, shuffle (order and augmentation)
"""
