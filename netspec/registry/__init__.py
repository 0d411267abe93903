"""Registries: what can be named in a spec, found by walking a package, by entry points, or in a file."""

from netspec.registry.layer_registry import layer_types, load_plugin, plugin_files, register

__all__ = ["layer_types", "load_plugin", "plugin_files", "register"]
