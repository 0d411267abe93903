"""Prepared sets as they are read: tar shards of images of one size, with an index that opens at once."""
