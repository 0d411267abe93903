"""What a layer declares and how its kernels are marked; netspec.plugin is the public face of it."""
