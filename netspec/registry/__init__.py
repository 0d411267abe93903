"""Registries: what can be named in a spec, found by walking a package, by entry points, or in a file."""

from netspec.registry.layer_files import Plugin, load_plugin, plugin_files, plugins_of
from netspec.registry.layer_registry import installed_faults, layer_types, register

__all__ = ["Plugin", "installed_faults", "layer_types", "load_plugin", "plugin_files", "plugins_of", "register"]
