"""Runners: execute a Program and drive training."""
