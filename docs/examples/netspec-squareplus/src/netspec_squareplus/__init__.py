"""Squareplus as a layer of netspec: specs name it ``squareplus`` once this package is installed."""
