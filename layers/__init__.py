"""Built-in layers, one file each; found by walking this package."""
