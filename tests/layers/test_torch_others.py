"""Normalisation, activations, dropout, softmax loss and joins against PyTorch, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import complete, cpu
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError
from netspec.registry import layer_types

torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
functional = torch.nn.functional
pytestmark = pytest.mark.torch
Torch = Any


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compare(
    layer_type: str,
    attrs: Mapping[str, Any],
    inputs: Sequence[Array],
    reference: Callable[..., Torch],
    variant: str = "plain",
    names: Sequence[str] = ("x",),
) -> None:
    """Outputs and gradients of the layer equal those of the function in PyTorch, in float32."""
    single = SingleLayer(layer_type, attrs, [Tensor(x.shape) for x in inputs], cpu(), variant=variant)
    given = [torch.tensor(x, requires_grad=True) for x in inputs]
    wanted = reference(*given)
    gradient = normal(*wanted.shape, seed=9)
    wanted.backward(torch.tensor(gradient))
    values = dict(zip(names, inputs, strict=True))
    forward = single.forward(values)
    backward = single.backward({**values, **forward, "dy": gradient})
    np.testing.assert_allclose(forward["y"], wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    for name, x in zip(names, given, strict=True):
        np.testing.assert_allclose(backward[f"d_{name}"], x.grad.numpy(), rtol=1e-5, atol=1e-6)


ACTIVATIONS = {
    "tanh": ({}, torch.tanh),
    "logistic": ({}, torch.sigmoid),
    "leaky_relu": ({"slope": 0.2}, lambda x: functional.leaky_relu(x, 0.2)),
    "elu": ({"alpha": 0.7}, lambda x: functional.elu(x, 0.7)),
    "silu": ({}, functional.silu),
    "gelu": ({}, functional.gelu),
    "hardswish": ({}, functional.hardswish),
    "clip": ({"low": -1.5, "high": 2.0}, lambda x: functional.hardtanh(x, -1.5, 2.0)),
}


@pytest.mark.parametrize("layer_type", ACTIVATIONS)
def test_activations(layer_type: str) -> None:
    attrs, reference = ACTIVATIONS[layer_type]
    compare(layer_type, attrs, [3 * normal(2, 3, 4, 5)], reference)


def parameters(layer_type: str, attrs: Mapping[str, Any], reference: Callable[..., Torch], *shape: int) -> None:
    """As ``compare``, in training, with the gradients of weight and bias."""
    x, weight, bias = 2 * normal(*shape) + 1, normal(shape[-1], seed=1), normal(shape[-1], seed=2)
    single = SingleLayer(layer_type, complete(layer_types()[layer_type], attrs), [Tensor(x.shape)], cpu())
    values = {"x": x, "weight": weight, "bias": bias, "mean": np.zeros(shape[-1]), "variance": np.ones(shape[-1])}
    values = {name: value for name, value in values.items() if name == "x" or name in single.t.roles}
    learned = [name for name in values if name not in ("mean", "variance")]
    given = {name: torch.tensor(values[name], requires_grad=True) for name in learned}
    wanted = reference(*given.values())
    gradient = normal(*shape, seed=9)
    wanted.backward(torch.tensor(gradient))
    forward = single.forward(values)
    backward = single.backward({**values, **forward, "dy": gradient})
    np.testing.assert_allclose(forward["y"], wanted.detach().numpy(), rtol=1e-5, atol=2e-6)
    for name, one in given.items():
        np.testing.assert_allclose(backward[f"d_{name}"], one.grad.numpy(), rtol=1e-4, atol=2e-5)


def first(function: Callable[..., Torch]) -> Callable[..., Torch]:
    """A function of channels first on channels last."""
    return lambda x, *rest: function(x.movedim(-1, 1), *rest).movedim(1, -1)


@pytest.mark.parametrize("shape", [(5, 4, 3, 8), (9, 8), (4, 40, 20, 8)])
def test_numbers_of_channels(shape: tuple[int, ...]) -> None:
    parameters("batch_norm", {}, first(lambda x, *wb: functional.batch_norm(x, None, None, *wb, training=True)), *shape)
    parameters("layer_norm", {}, lambda x, *wb: functional.layer_norm(x, shape[-1:], *wb), *shape)
    parameters("group_norm", {"groups": 4}, first(lambda x, *wb: functional.group_norm(x, 4, *wb)), *shape)
    parameters("scale", {}, lambda x, weight, bias: x * weight + bias, *shape)
    parameters("prelu", {}, first(functional.prelu), *shape)


def test_products_and_weighted_sums() -> None:
    pair, names = [normal(2, 3, 4, seed=1), normal(2, 3, 4, seed=2)], ("a", "b")
    compare("product", {}, pair, lambda a, b: a * b, names=names)
    compare("axpby", {"alpha": 0.5, "beta": -2.0}, pair, lambda a, b: 0.5 * a - 2 * b, names=names)


@pytest.mark.parametrize("shape", [(3, 6), (3, 1, 1, 6)])
def test_gates(shape: tuple[int, ...]) -> None:
    pair = [normal(3, 4, 5, 6), normal(*shape, seed=1)]
    compare("gate", {}, pair, lambda x, factor: x * factor.reshape(3, 1, 1, 6), names=("x", "factor"))


def across(x: Torch, size: int, alpha: float, beta: float, k: float) -> Torch:
    """torch's normalisation works on axis 1 and divides alpha by the size."""
    rows = x.reshape(-1, x.shape[-1], 1)
    return functional.local_response_norm(rows, size, alpha, beta, k).reshape(x.shape)


@pytest.mark.parametrize("variant", ["plain", "rows"])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_lrn(variant: str, size: int, beta: float) -> None:
    attrs = {"size": size, "alpha": 0.7, "beta": beta, "k": 1.5, "scaling": "window"}
    compare("lrn", attrs, [2 * normal(2, 3, 3, 7)], lambda x: across(x, size, 0.7, beta, 1.5), variant)


def test_lrn_as_the_paper_writes_it() -> None:
    attrs = {"alpha": 0.3}
    compare("lrn", attrs, [2 * normal(4, 96)], lambda x: across(x, 5, 5 * 0.3, 0.75, 2.0), "rows")


@pytest.mark.parametrize("variant", ["plain", "rows"])
def test_lrn_in_groups(variant: str) -> None:
    def halves(x: Torch) -> Torch:
        return torch.cat([across(part, 5, 0.5, 0.75, 2.0) for part in x.chunk(2, -1)], -1)

    compare("lrn", {"alpha": 0.5, "scaling": "window", "groups": 2}, [normal(3, 2, 2, 96)], halves, variant)


def test_lrn_over_several_tiles_and_blocks() -> None:
    compare("lrn", {"alpha": 0.1}, [normal(9, 30, 30, 10)], lambda x: across(x, 5, 0.5, 0.75, 2.0), "rows")


@pytest.mark.parametrize(("size", "scaling", "beta"), [(3, "sum", 0.75), (4, "sum", 0.5), (5, "window", 0.75)])
def test_lrn_within(size: int, scaling: str, beta: float) -> None:
    before = size // 2
    after = size - 1 - before

    def reference(x: Torch) -> Torch:
        squares = functional.pad((x * x).permute(0, 3, 1, 2), (before, after, before, after))
        total = functional.avg_pool2d(squares, size, 1, divisor_override=1).permute(0, 2, 3, 1)
        return x * (1.2 + 0.4 / (size * size if scaling == "window" else 1) * total) ** -beta

    attrs = {"size": size, "alpha": 0.4, "k": 1.2, "scaling": scaling, "beta": beta}
    compare("lrn_within", attrs, [normal(2, 6, 5, 3)], reference)


def test_joins() -> None:
    parts, names = [normal(2, 3, 2, n, seed=n) for n in (4, 2, 6)], ("x0", "x1", "x2")
    compare("concat", {}, parts, lambda *xs: torch.cat(xs, -1), names=names)
    compare("sum", {}, [parts[0], 2 * parts[0], -parts[0]], lambda a, b, c: a + b + c, names=names)
    compare("flatten", {}, [parts[0]], lambda x: x.reshape(2, -1))


@pytest.mark.parametrize("index", [0, 2])
def test_select(index: int) -> None:
    compare("select", {"index": index}, [normal(3, 4, 2, 3, 5)], lambda x: x.select(1, index))


def test_ranges_and_orders() -> None:
    compare("slice", {"first": 2, "count": 3}, [normal(3, 4, 2, 7)], lambda x: x.narrow(3, 2, 3))
    compare("permute", {"order": [3, 1, 2]}, [normal(3, 4, 2, 7)], lambda x: x.permute(0, 3, 1, 2))
    compare("permute", {"order": [2, 4, 3, 1]}, [normal(3, 4, 2, 7, 5)], lambda x: x.permute(0, 2, 4, 3, 1))


def test_concat_in_groups() -> None:
    def reference(a: Torch, b: Torch) -> Torch:
        return torch.cat([a[:, :3], b[:, :2], a[:, 3:], b[:, 2:]], -1)

    compare("concat", {"groups": 2}, [normal(3, 6), normal(3, 4)], reference, names=("x0", "x1"))


def softmax_loss(x: Array, label: Array, **options: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    attrs, valid = {"weight": options.get("weight", 1.0)}, options.get("valid")
    single = SingleLayer("softmax_loss", attrs, [Tensor(x.shape), Tensor(label.shape, "int32")], cpu())
    forward = single.forward({"x": x, "label": label}, valid=valid)
    return forward, single.backward({"x": x, "label": label, **forward}, valid=valid)


@pytest.mark.parametrize(("classes", "valid"), [(11, 6), (11, 4), (3, 6), (1000, 5)])
def test_softmax_loss(classes: int, valid: int) -> None:
    x, label = 5 * normal(6, classes), np.arange(6, dtype=np.int32) * 7 % classes
    forward, backward = softmax_loss(x, label, weight=0.3, valid=valid)
    scores, labels = torch.tensor(x[:valid], requires_grad=True), torch.tensor(label[:valid]).long()
    loss = functional.cross_entropy(scores, labels)
    (0.3 * loss).backward()
    best = scores.detach().topk(min(5, classes)).indices
    wrong = [(best[:, :n] != labels[:, None]).all(1).sum().item() for n in (1, 5)]
    np.testing.assert_allclose(forward["report"], [loss.item() * valid, *wrong, valid], rtol=1e-5)
    np.testing.assert_allclose(forward["probs"], torch.tensor(x).softmax(1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(backward["d_x"][:valid], scores.grad, rtol=1e-5, atol=1e-7)
    assert not backward["d_x"][valid:].any()


def test_softmax_loss_with_huge_scores() -> None:
    x = np.array([[1e4, -1e4, 0.0], [-3e38, -3e38, -3e38]], np.float32)
    forward, backward = softmax_loss(x, np.array([1, 0], np.int32))
    np.testing.assert_allclose(forward["report"][0], 2e4, rtol=1e-4)
    assert np.isfinite(backward["d_x"]).all()


def test_ties_count_as_errors() -> None:
    x = np.zeros((2, 7), np.float32)
    x[1, :4] = 1
    forward, _ = softmax_loss(x, np.array([0, 0], np.int32))
    assert forward["report"][1:].tolist() == [2, 1, 2]


@pytest.mark.parametrize("label", [-1, 7, 2**31 - 1])
def test_a_label_out_of_range_is_an_error_and_not_finite(label: int) -> None:
    forward, backward = softmax_loss(normal(2, 7), np.array([3, label], np.int32))
    assert np.isnan(forward["report"][0]) and forward["report"][3] == 2
    assert np.isnan(backward["d_x"][1]).all() and np.isfinite(backward["d_x"][0]).all()


def test_scores_that_are_not_numbers_are_errors() -> None:
    forward, _ = softmax_loss(np.full((1, 9), np.nan, np.float32), np.array([0], np.int32))
    assert np.isnan(forward["report"][0]) and forward["report"][1:3].tolist() == [1, 1]


@pytest.mark.parametrize("keep", [0.2, 0.5, 1.0])
def test_dropout_keeps_its_share(keep: float) -> None:
    x = np.ones((64, 500), np.float32)
    for mode, kept in (("paper", 1.0), ("inverted", 1 / keep)):
        single = SingleLayer("dropout", {"keep": keep, "mode": mode}, [Tensor(x.shape)], cpu())
        y = single.forward({"x": x})["y"]
        assert set(np.unique(y)) <= {np.float32(0), np.float32(kept)}
        assert abs((y > 0).mean() - keep) < 0.01
        together = ((y[:, ::2] > 0) & (y[:, 1::2] > 0)).mean()
        assert abs(together - keep * keep) < 0.01
        evaluation = SingleLayer("dropout", {"keep": keep, "mode": mode}, [Tensor(x.shape)], cpu(), phase="eval")
        np.testing.assert_allclose(evaluation.forward({"x": x})["y"], y.mean(), rtol=0.03)


def huber(x: Torch, target: Torch) -> Torch:
    return functional.huber_loss(x, target, delta=0.7)


COSTS = {
    "mse": ({}, functional.mse_loss, lambda x: x),
    "l1": ({}, functional.l1_loss, lambda x: x),
    "huber": ({"delta": 0.7}, huber, lambda x: x),
    "hinge": ({}, lambda x, target: (1 - target * x).clamp(min=0).mean(), lambda x: x),
    "sigmoid_loss": ({}, functional.binary_cross_entropy_with_logits, torch.sigmoid),
}


@pytest.mark.parametrize("layer_type", COSTS)
@pytest.mark.parametrize(("numbers", "valid", "weight"), [(1, 6, 1.0), (5, 4, 0.3), (70, 6, 1.0)])
def test_costs_of_numbers(layer_type: str, numbers: int, valid: int, weight: float) -> None:
    attrs, reference, response = COSTS[layer_type]
    x, target = 3 * normal(6, numbers), normal(6, numbers, seed=1)
    single = SingleLayer(layer_type, {**attrs, "weight": weight}, [Tensor(x.shape), Tensor(target.shape)], cpu())
    forward = single.forward({"x": x, "target": target}, valid=valid)
    backward = single.backward({"x": x, "target": target, **forward}, valid=valid)
    scores, wanted = (torch.tensor(one[:valid], requires_grad=True) for one in (x, target))
    loss, answer = reference(scores, wanted), response(scores)
    (weight * loss).backward()
    others = [cost(answer, wanted).item() * valid for cost in (functional.mse_loss, functional.l1_loss)]
    np.testing.assert_allclose(forward["report"], [loss.item() * valid, *others, valid], rtol=1e-5)
    np.testing.assert_allclose(forward["prediction"], response(torch.tensor(x)), rtol=1e-6)
    for name, one in (("d_x", scores), ("d_target", wanted)):
        np.testing.assert_allclose(backward[name][:valid], one.grad, rtol=1e-5, atol=1e-7)
        assert not backward[name][valid:].any()


def test_shapes_of_images() -> None:
    x = normal(2, 5, 4, 3)
    compare("upsample", {"factor": [2, 3]}, [x], first(lambda x: functional.interpolate(x, scale_factor=(2, 3))))
    sides = {"top": 1, "bottom": -2, "left": -1, "right": 2, "value": 0.5}
    compare("pad", sides, [x], first(lambda x: functional.pad(x, (-1, 2, 1, -2), value=0.5)))
    compare("softmax", {"groups": 1}, [3 * x], lambda x: x.softmax(-1))
    compare("softmax", {"groups": 2}, [3 * normal(4, 6)], lambda x: x.reshape(4, 2, 3).softmax(-1).reshape(4, 6))


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_averages_that_count_padding(rounding: str) -> None:
    attrs = {"mode": "average", "size": 3, "stride": 2, "pad": 1, "rounding": rounding, "count_include_pad": True}
    whole = first(lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=rounding == "ceil"))
    compare("pool", attrs, [normal(2, 6, 7, 3)], whole)
    everything = {"mode": "average", "size": "image"}
    compare("pool", everything, [normal(2, 6, 7, 3)], first(lambda x: functional.adaptive_avg_pool2d(x, 1)))


@pytest.mark.parametrize("out", [1, (3, 4), (7, 9), (2, 3)])
def test_averages_of_windows_as_many_as_asked_for(out: Any) -> None:
    attrs = {"out": out if isinstance(out, int) else [*out]}
    compare("adaptive_pool", attrs, [normal(2, 6, 7, 3)], first(lambda x: functional.adaptive_avg_pool2d(x, out)))


@pytest.mark.parametrize(
    ("size", "dilation", "stride", "pad"), [(3, 2, 1, 1), ([2, 3], [3, 1], 2, [1, 0]), (2, 4, 3, 0)]
)
def test_maxima_of_dilated_windows(size: Any, dilation: Any, stride: int, pad: Any) -> None:
    attrs = {"mode": "max", "size": size, "dilation": dilation, "stride": stride, "pad": pad}
    compare("pool", attrs, [normal(2, 7, 8, 3)], first(lambda x: functional.max_pool2d(x, size, stride, pad, dilation)))


def test_dilated_windows_that_read_nothing_are_refused() -> None:
    for mode in ("max", "average"):
        with pytest.raises(LayerError, match="padding alone"):
            compare("pool", {"mode": mode, "size": 2, "dilation": 8, "pad": 4}, [normal(1, 3, 3, 2)], lambda x: x)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(
    ("size", "dilation", "stride", "pad"), [(3, 2, 1, 1), ((2, 3), (3, 1), 2, (1, 0)), (2, 4, 3, 0)]
)
def test_averages_over_dilated_windows(size: Any, dilation: Any, stride: int, pad: Any, include: bool) -> None:
    """PyTorch has none: sums are convolutions with ones."""

    def sums(x: Any) -> Any:
        ones = torch.ones(x.shape[1], 1, *(size if isinstance(size, tuple) else (size, size)), dtype=x.dtype)
        return functional.conv2d(x, ones, None, stride, 0, dilation, x.shape[1])

    def average(x: Any) -> Any:
        down, along = pad if isinstance(pad, tuple) else (pad, pad)
        sides = (along, along, down, down)
        return sums(functional.pad(x, sides)) / sums(functional.pad(torch.ones_like(x), sides, value=float(include)))

    attrs = {"mode": "average", "size": size, "dilation": dilation, "stride": stride, "pad": pad}
    attrs = {key: [*one] if isinstance(one, tuple) else one for key, one in attrs.items()}
    compare("pool", attrs | {"count_include_pad": include}, [normal(2, 7, 8, 3)], first(average))
