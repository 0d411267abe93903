"""Execution: what binds a Program to open devices and runs its steps."""
