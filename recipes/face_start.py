"""A face network to train on from, read back out of the ONNX file that was made of it.

The file has no blendshapes (their layer starts anew), and convolutions with their norms folded in.
For training these are taken apart again: each norm gets the mean and the spread that its
convolution has on pictures, and as scale and offset what undoes both, so the network computes what
it did, and a batch is normed as in a network that was never folded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from recipes.face_data import EMOTIONS, NUM_SHAPES, augment
from recipes.face_net import FaceNet
from recipes.face_train import Recipe
from torch import Tensor, nn


def read_exported(path: Path, images: Tensor) -> FaceNet:
    """The network in an ONNX file that `recipes.face` exported with the recipe's shape.

    images: uint8 (n, 1, S, S), a thousand or so pictures to measure spreads on.
    """
    recipe = Recipe()
    net = FaceNet(len(EMOTIONS), NUM_SHAPES, recipe.widths, recipe.depths, recipe.dropout).eval()
    graph = onnx.load(str(path)).graph
    values = _constants(graph)
    convs = [node for node in graph.node if node.op_type == "Conv"]
    layers = conv_layers(net)
    with torch.no_grad():
        # The graph holds the network twice: for the crop and for its mirror image.
        for node, (conv, norm) in zip(convs[: len(layers)], layers, strict=True):
            conv.weight.copy_(values[node.input[1]])
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            norm.bias.copy_(values[node.input[2]])
        product = next(node for node in graph.node if node.op_type == "MatMul")
        dense, norm = net.get_submodule("project.0"), net.get_submodule("project.1")
        dense.get_parameter("weight").copy_(values[product.input[1]].T)
        for name, value in norm.state_dict().items():
            if name in ("weight", "bias", "running_mean", "running_var"):
                value.copy_(values[f"net.project.1.{name}"])
        net.classify.weight.copy_(values["net.classify.weight"])
        net.classify.bias.copy_(values["net.classify.bias"])
        _unfold(net, images, recipe)
    return net


def conv_layers(net: FaceNet) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions with their norms, in the order in which the network runs them."""
    modules = list(net.modules())
    convs = [part for part in modules if isinstance(part, nn.Conv2d)]
    norms = [part for part in modules if isinstance(part, nn.BatchNorm2d)]
    return list(zip(convs, norms, strict=True))


def _unfold(net: FaceNet, images: Tensor, recipe: Recipe) -> None:
    """Give norms, which so far only add an offset, the means and spreads of what they are given."""
    found: dict[nn.Module, Tensor] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[norm] = inputs[0].transpose(0, 1).flatten(1)

    norms = [norm for _, norm in conv_layers(net)]
    moments = {norm: torch.zeros(2, norm.num_features) for norm in norms}
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    batches = images.split(recipe.batch)
    for batch in batches:
        net(augment(batch, recipe.side_px, recipe.strength))
        for norm, values in found.items():
            moments[norm] += torch.stack([values.mean(dim=1), (values**2).mean(dim=1)])
    for hook in hooks:
        hook.remove()
    for norm, total in moments.items():
        mean, power = total / len(batches)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((power - mean**2).clamp_min(1e-6))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias += mean


def _constants(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Every stored value by name; weights kept as codes are multiplied out."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        sources = [values.get(name) for name in node.input]
        if node.op_type == "Cast" and sources[0] is not None:
            values[node.output[0]] = sources[0].astype(np.float32)
        elif node.op_type == "Mul" and all(source is not None for source in sources):
            values[node.output[0]] = sources[0] * sources[1]
        elif node.op_type == "Identity" and sources[0] is not None:
            values[node.output[0]] = sources[0]
    return {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
