"""A spec, and pieces of text that break specs."""

NET = """\
netspec: 1
name: net
devices: [left, right]
inputs:
  image: {shape: [32, 32, 3]}
  label: {dtype: int32}
defaults:
  conv: {rounding: ceil, init: {type: gaussian, std: 0.02}, params: {bias: {rate: 2.0, decay: 0.0}}}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 16, size: 5, init: {std: 1.0e-4}}
  - {name: relu1, type: relu}
  - {name: pool1, type: pool, mode: max, size: 3, stride: 2}
  - {name: conv2, type: conv, filters: 16, size: [3, 5], inputs: {from: pool1, connect: all}, decay: 3}
  - {name: fc, type: dense, device: left, units: 10, inputs: {from: conv2, connect: all}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train:
  batch: 64
  sgd: {learning_rate: 0.02}
data: {source: generated, mirror: true, augment: {colour: {sigma: 0.2}, translate: on, cutout: off, crop: {}}}
"""
BLOCKS = """\
blocks:
  unit:
    attributes: {filters: required, act: relu}
    inputs: x
    layers:
      - {name: conv$(name), type: conv, inputs: {from: x, connect: all}, filters: $filters, size: 1}
      - {name: act, type: $act}
  pair:
    inputs: [a, b]
    output: one
    layers: [{name: one, type: unit, inputs: a, filters: 4}, {name: two, type: relu, inputs: b}]
"""
USES = """\
  - {name: unit1, type: unit, filters: 16}
  - {name: unit2, type: unit, filters: 16, act: relu, inputs: unit1, share: unit1, device: [left, right]}
  - {name: both, type: pair, inputs: [unit2, {from: unit1, connect: same}]}
"""
NET_OF_BLOCKS = NET.replace("layers:\n", BLOCKS + "layers:\n").replace("  - {name: fc", USES + "  - {name: fc")
PIECES = [
    *"[ ] { } : , - # & * ! | > ' % @ ` ~ ? << *a &a --- ... \\ null true no 0 -1 1e999 .nan .inf 1_0 0x1 é 😀".split(),
    *"name type inputs device layers extends remove after share split from connect all same batch conv relu".split(),
    *"blocks attributes output required unit unit1 $filters $(name) $$ $( $act".split(),
    *"augment colour mirror crop translate random_resized_crop off on".split(),
    *"gaussian plateau generated image.y conv1 !!str netspec params rate [[[[ {{{{ [] {} 99999999999999999999".split(),
    *('"', " ", "\t", "\n", "\x00", "\ufeff"),
]
