"""Synthetic pictures for the ``generated`` source: their classes, the masks they are made of, and the renderer."""
