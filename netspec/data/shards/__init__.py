"""Prepared sets: images of any source as tar shards of JPEGs of one size, with an index that opens at once."""
