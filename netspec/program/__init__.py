"""The Program: a Plan lowered for device kinds and team sizes."""
