"""Caffe's files: the messages of its format that networks and weights need, and readers that hold within bounds.

Names and numbers of fields are those of caffe.proto (BVLC/caffe). Numbers of blobs are declared as bytes, which packed
floats are on the wire: so they become arrays without a copy for each. Fields that are not declared are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError

from netspec.errors import NetspecError, NoSuchFile, printable
from netspec.rundir.run_files import read_bytes, read_text
from netspec.units import size

MOST_BYTES, MOST_TEXT = 2**31 - 1, 4 * 2**20
"""What protobuf reads at all; and of a text, a hundred times the longest network there is."""
MOST_FIELDS, MOST_PACKED = 1_000_000, 2**20
"""Fields of a file, and bytes of a list of numbers beside those of blobs: each takes more memory than it has bytes."""

_MESSAGES = {
    "BlobShape": "dim:1*int64",
    "BlobProto": "num:1 channels:2 height:3 width:4 data:5:bytes shape:7:BlobShape double_data:8:bytes",
    "NetStateRule": "phase:1:Phase",
    "ConvolutionParameter": "num_output:1 bias_term:2:bool=true pad:3* kernel_size:4* group:5=1 stride:6* pad_h:9 "
    "pad_w:10 kernel_h:11 kernel_w:12 stride_h:13 stride_w:14 axis:16=1 dilation:18*",
    "PoolingParameter": "pool:1:Pool kernel_size:2 stride:3=1 pad:4 kernel_h:5 kernel_w:6 stride_h:7 stride_w:8 "
    "pad_h:9 pad_w:10 global_pooling:12:bool round_mode:13:Round",
    "LRNParameter": "local_size:1=5 alpha:2:float=1 beta:3:float=0.75 norm_region:4:Region k:5:float=1",
    "InnerProductParameter": "num_output:1 bias_term:2:bool=true axis:5=1 transpose:6:bool",
    "DropoutParameter": "dropout_ratio:1:float=0.5",
    "ReLUParameter": "negative_slope:1:float",
    "PReLUParameter": "channel_shared:2:bool",
    "ELUParameter": "alpha:1:float=1",
    "BatchNormParameter": "moving_average_fraction:2:float=0.999 eps:3:float=0.00001",
    "ScaleParameter": "axis:1:int32=1 num_axes:2:int32=1 bias_term:4:bool",
    "ClipParameter": "min:1:float max:2:float",
    "ConcatParameter": "concat_dim:1=1 axis:2=1",
    "EltwiseParameter": "operation:1:Operation=SUM coeff:2*float",
    "SoftmaxParameter": "axis:2=1",
    "InputParameter": "shape:1*BlobShape",
    "LayerParameter": "name:1:string type:2:string bottom:3*string top:4*string blobs:7*BlobProto "
    "include:8*NetStateRule concat_param:104:ConcatParameter convolution_param:106:ConvolutionParameter "
    "dropout_param:108:DropoutParameter eltwise_param:110:EltwiseParameter "
    "inner_product_param:117:InnerProductParameter lrn_param:118:LRNParameter pooling_param:121:PoolingParameter "
    "relu_param:123:ReLUParameter softmax_param:125:SoftmaxParameter prelu_param:131:PReLUParameter "
    "batch_norm_param:139:BatchNormParameter elu_param:140:ELUParameter scale_param:142:ScaleParameter "
    "input_param:143:InputParameter clip_param:148:ClipParameter",
    "V1LayerParameter": "name:4:string blobs:6*BlobProto",
    "NetParameter": "name:1:string layers:2*V1LayerParameter input:3*string input_dim:4*int32 input_shape:8*BlobShape "
    "layer:100*LayerParameter",
}
"""By message, its fields: name:number, ``*`` where repeated, the type (uint32), = the default."""
_ENUMS = {
    "Phase": "TRAIN TEST",
    "Pool": "MAX AVE STOCHASTIC",
    "Round": "CEIL FLOOR",
    "Region": "ACROSS_CHANNELS WITHIN_CHANNEL",
    "Operation": "PROD SUM MAX",
}
_FIELD = re.compile(r"(\w+):(\d+)([*:]?)(\w*)(?:=(\S+))?")
_PACKED = ("int64",)


def _file() -> Any:
    """The schema as protobuf has schemas."""
    file = descriptor_pb2.FileDescriptorProto(name="netspec_caffe.proto", package="netspec_caffe", syntax="proto2")
    for name, words in _ENUMS.items():
        enum = file.message_type.add(name=f"{name}Scope").enum_type.add(name=name)
        for number, word in enumerate(words.split()):
            enum.value.add(name=word, number=number)
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for match in _FIELD.finditer(text):
            _add_field(message, *match.groups())
    return file


def _add_field(message: Any, name: str, number: str, mark: str, kind: str, default: str | None) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    kind = kind or "uint32"
    field = message.field.add(name=name, number=int(number), label=kinds.LABEL_OPTIONAL)
    if mark == "*":
        field.label = kinds.LABEL_REPEATED
    if kind in _MESSAGES or kind in _ENUMS:
        field.type = kinds.TYPE_MESSAGE if kind in _MESSAGES else kinds.TYPE_ENUM
        field.type_name = f".netspec_caffe.{kind}" + f"Scope.{kind}" * (kind in _ENUMS)
    else:
        field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    if default is not None:
        field.default_value = default
    if kind in _PACKED:
        field.options.packed = True


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"netspec_caffe.{name}"))


def read_prototxt(file: Path) -> tuple[Any, list[int]]:
    """The network that a .prototxt describes, and the lines of its layers. Raises NetspecError."""
    text = _read(read_text, file, MOST_TEXT)
    net = message("NetParameter")()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except (text_format.ParseError, RecursionError, ValueError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise NetspecError(f"{printable(file)}:{printable(reason)}") from error
    return net, list(_lines(text, "layer"))


_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>]|\w+|\n""")


def _lines(text: str, name: str) -> Iterator[int]:
    """The lines on which the fields of that name begin that stand in no other."""
    line, depth = 1, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        line += token == "\n"
        depth += (token in "{<") - (token in "}>")
        if token == name and depth == 0:
            yield line


def read_binary(file: Path, name: str) -> Any:
    """The message that a binary file holds. Raises NetspecError."""
    data = _read(read_bytes, file, MOST_BYTES)
    made = message(name)
    try:
        _count(memoryview(data), made.DESCRIPTOR, [MOST_FIELDS])
        return made.FromString(data)
    except (DecodeError, IndexError, ValueError) as error:
        raise NetspecError(f"{printable(file)}: damaged, or no file of Caffe's: {error}") from error


def _read(how: Any, file: Path, most: int) -> Any:
    try:
        return how(file, most)
    except FileNotFoundError:
        raise NoSuchFile(f"{printable(file)}: no such file") from None


def _count(data: memoryview, kind: Any, left: list[int]) -> None:
    """Walk over the fields of a message, so that none is made into objects before it is known how many there are."""
    place = 0
    while place < len(data):
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields")
        key, place = _varint(data, place)
        field, wire = kind.fields_by_number.get(key >> 3), key & 7
        if wire == 0:
            _, place = _varint(data, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        elif wire == 2:
            length, place = _varint(data, place)
            place += length
            if place > len(data):
                break
            _count_within(data[place - length : place], field, left)
        else:
            raise ValueError(f"field {key >> 3} is of no type that Caffe has")
    if place > len(data):
        raise ValueError("it is cut off")


def _count_within(data: memoryview, field: Any, left: list[int]) -> None:
    if field is not None and field.message_type is not None:
        _count(data, field.message_type, left)
    elif field is not None and field.type != field.TYPE_BYTES and len(data) > MOST_PACKED:
        raise ValueError(f"'{field.name}' takes {size(len(data))}")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of it has no end")
