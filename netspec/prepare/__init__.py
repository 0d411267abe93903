"""Preparing sets: images of any source become shards of small ones, see netspec.data.shards for what is made."""
