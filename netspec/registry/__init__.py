"""Registries: what can be named in a spec, found by walking a package, by entry points, or in files that are named."""

from netspec.registry.kinds import augmentation_types, composite_types, layer_types
from netspec.registry.plugin_code import Plugin, load_plugin, plugin_files, plugins_of, types_in
from netspec.registry.registry import Registry, described, installed_faults, register, registered

__all__ = [
    "Plugin",
    "Registry",
    "augmentation_types",
    "composite_types",
    "described",
    "installed_faults",
    "layer_types",
    "load_plugin",
    "plugin_files",
    "plugins_of",
    "register",
    "registered",
    "types_in",
]
