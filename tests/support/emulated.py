"""Small kernels on the emulator: PTX written by hand, a register for each operand."""

from __future__ import annotations

import re
import struct

import numpy as np

from netspec.emulate import Memory, Module, launch

HEAD = ".version 8.7\n.target sm_90a\n.address_size 64\n"
REGISTERS = (
    ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %rd<20>; .reg .f64 %fd<9>;"
)
_TYPES = {"f4": "f32", "f8": "f64", "u4": "u32", "i4": "s32", "u8": "u64", "i8": "s64", "u2": "u16", "i2": "s16"}
_LETTERS = {"f4": "f", "f8": "fd", "u4": "r", "i4": "r", "u8": "rd", "i8": "rd", "u2": "h", "i2": "h"}


def put(memory, array):
    """The address of a copy of an array."""
    array = np.ascontiguousarray(array)
    address = memory.allocate(array.nbytes)
    memory.view(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
    memory.mark_initialised(address, array.nbytes)
    return address


def get(memory, address, shape, dtype):
    """The array at an address."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return memory.view(address, nbytes).view(dtype).reshape(shape).copy()


def kernel(body, parameters=1, before="", bounds=""):
    """The text of a kernel ``k`` whose parameters are addresses, in %rd1 and on; ``bounds`` such as .maxntid."""
    names = [f"p{number}" for number in range(parameters)]
    given = ", ".join(f".param .u64 {name}" for name in names)
    loads = " ".join(f"ld.param.u64 %rd{number + 1}, [{name}];" for number, name in enumerate(names))
    start = f"{HEAD}{before}\n.visible .entry k({given}) {bounds}\n{{\n{REGISTERS}\n{loads}"
    return f"{start}\nmov.u32 %r1, %tid.x;\n{body}\nret;\n}}\n"


def run(body, *arrays, threads=32, blocks=1, before="", dynamic=0, memory=None, check=True):
    """Run a kernel on copies of arrays (or blanks, for integers: so many bytes); what they hold afterwards."""
    memory = memory or Memory(1 << 26)
    places = [memory.allocate(one) if isinstance(one, int) else put(memory, one) for one in arrays]
    module = Module(kernel(body, len(arrays), before))
    given = [struct.pack("<Q", place) for place in places]
    launch(module, "k", (blocks, 1, 1), (threads, 1, 1), dynamic, given, memory, check=check)
    kinds = [(one, np.uint8) if isinstance(one, int) else (one.shape, one.dtype) for one in arrays]
    return [get(memory, place, *kind) for place, kind in zip(places, kinds, strict=True)]


def apply(lines, *inputs, out):
    """One thread for each element: inputs in %a, %b, %c, the result in %d, all of their arrays' types."""
    inputs = [np.asarray(one) for one in inputs]
    count = inputs[0].size
    names = dict(zip("abc", inputs, strict=False)) | {"d": np.empty(0, out)}
    text = lines
    for name, array in names.items():
        text = re.sub(rf"%{name}\b", _register(name, array), text)
    loads = []
    for number, (name, array) in enumerate(names.items(), 1):
        loads.append(f"mul.wide.u32 %rd18, %r1, {array.itemsize}; add.u64 %rd{9 + number}, %rd{number}, %rd18;")
        if name != "d":
            loads.append(f"ld.global.{_type(array)} {_register(name, array)}, [%rd{9 + number}];")
    end = f"st.global.{_type(names['d'])} [%rd{9 + len(names)}], {_register('d', names['d'])};"
    body = "\n".join((*loads, text, end))
    results = run(body, *inputs, count * np.dtype(out).itemsize, threads=count)
    return results[-1].view(out)


def _type(array):
    return _TYPES[array.dtype.str[1:]]


def _register(name, array):
    letter = _LETTERS[array.dtype.str[1:]]
    last = {"r": 30, "f": 30, "rd": 19, "h": 8, "fd": 8}[letter]
    first = {"r": 5, "f": 5, "rd": 5, "h": 1, "fd": 1}[letter]
    return f"%{letter}{last if name == 'd' else first + ord(name) - 97}"
