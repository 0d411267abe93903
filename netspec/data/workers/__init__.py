"""Workers: processes, or a thread, that read and decode images into batches in shared memory."""
