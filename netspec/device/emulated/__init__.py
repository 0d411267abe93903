"""The emulated GPU as a device: kernels compiled for a card, run by netspec.emulate."""
