"""Convolutions of one size, one after the other: what the composite is in a line, and where it is from."""

from netspec.plugin import Composite, channels, integer, register


@register("my_layer")
class MyLayer(Composite):
    """``times`` convolutions of 3 x 3, each with a rectifier, and the input added to what comes of them"""

    attrs = {
        "filters": channels("Kernels of each, as many as the input has channels."),
        "times": integer("Convolutions.", default=2, minimum=1),
    }
    examples = ({"filters": 4}, {"filters": 4, "times": 3})
    shapes = ((8, 8, 4),)  # of the input in the contract suite: height, width, channels

    # Layers as a spec has them. Names are the composite's own: in the network conv1 of a use called stage1 is
    # stage1-conv1. Layers read one another and the input, x, by these names, and unless they say so the layer above.

    def layers(self):
        """The layers in order; the last stands for all to those who read the composite."""
        for n in range(1, self.attrs.times + 1):
            read = {"inputs": "x"} if n == 1 else {}
            size = {"filters": self.attrs.filters, "size": 3, "pad": 1, "init": {"type": "he"}}
            yield {"name": f"conv{n}", "type": "conv", **size, **read}
            yield {"name": f"relu{n}", "type": "relu"}
        yield {"name": "sum", "type": "sum", "inputs": [f"relu{self.attrs.times}", "x"]}
