"""What people see: tables, numbers, the progress of a run, curves. Nothing here decides anything."""
