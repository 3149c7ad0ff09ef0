"""One module evaluated with the parameters of several clients at once, each on samples of its own.

Networks that are a sequence of common layers run as matrix products and convolutions over all clients; any other module
goes through torch.func.vmap, which does the same operation by operation at a higher cost in Python, or with one client
is called as it is.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fedcomloc_mpi.errors import UserError

_ENTRYWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Identity)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_PROBE_TOLERANCE = 1e-4

Parameters = Mapping[str, Tensor]
Forward = Callable[[Parameters, Tensor], Tensor]


class BatchedModel:
    """Losses and gradients of n copies of a module, whose parameters are the rows of one tensor [n, d].

    The order within a row is that of `FlatModel`, which also checks the module. grouped: whether it runs layer by layer
    rather than through vmap.
    """

    def __init__(
        self, module: nn.Module, *, grouped: bool | None = None, convolve_in_groups: bool | None = None
    ) -> None:
        """`grouped`: None for layer by layer where every layer is known; ValueError for True where one is not.

        convolve_in_groups: whether the convolutions of all models are one with n groups; None for everywhere but on a
        CPU, where that takes twice as long as one after the other.
        """
        self._module = module
        self._shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        self._ends = list(accumulate(shape.numel() for shape in self._shapes.values()))
        known = _is_known(module)
        if grouped and not known:
            raise ValueError(f"{type(module).__name__} is not a sequence of known layers")
        self.grouped = known if grouped is None else grouped
        self._convolve_in_groups = convolve_in_groups
        self._forward: Forward = self._layer_by_layer if self.grouped else self._vmapped

    def __call__(self, models: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs, [n, batch, classes], for `models` [n, d] and `inputs` [n, batch, ...]."""
        return self._forward(self._parameters(models), inputs)

    def gradient(
        self, models: Tensor, inputs: Tensor, loss: Callable[[Tensor], Tensor], out: Tensor
    ) -> Tensor:
        """Write every model's gradient into `out` [n, d] and return the losses, [n].

        `loss` maps outputs [n, batch, classes] to the loss of each model, which depends on its own outputs alone.
        """
        leaves = {name: each.detach().requires_grad_() for name, each in self._parameters(models).items()}
        with torch.enable_grad():
            losses = loss(self._forward(leaves, inputs))
            found = torch.autograd.grad(
                losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        for piece, gradient in zip(self._parameters(out).values(), found, strict=True):
            piece.copy_(gradient)
        return losses.detach()

    @torch.no_grad()
    def check(self, models: Tensor, inputs: Tensor) -> None:
        """Raise UserError unless batching changes nothing but rounding: tried on some `models` and `inputs`.

        Samples must not influence one another, as in a normalisation over the minibatch, nor may chance, as in dropout:
        short minibatches are filled up, and random numbers would be drawn in another order.
        """
        name = f"the model {type(self._module).__name__} cannot run several clients at once"
        try:
            together, alone = self(models, inputs), self._one_by_one(models, inputs)
        except Exception as error:  # whatever vmap or the module raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{name} ({reason}); --client-batch 1 runs them one by one") from error
        largest = float(alone.abs().max())
        if not torch.allclose(together, alone, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE * largest):
            raise UserError(
                f"{name}: what it makes of a sample depends on other samples or on chance; --client-batch 1 runs them"
                " one by one"
            )

    def _one_by_one(self, models: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs as the module itself computes them, for one model and one sample at a time."""
        outputs = []
        for row, samples in enumerate(inputs):
            own = {name: each[row] for name, each in self._parameters(models).items()}
            outputs.append(torch.cat([functional_call(self._module, own, (one[None],)) for one in samples]))
        return torch.stack(outputs)

    def _parameters(self, models: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name, [n, *shape], as views of `models` [n, d]."""
        starts = [0, *self._ends]
        return {
            name: models[:, start:end].unflatten(1, shape) if shape else models[:, start]
            for (name, shape), start, end in zip(self._shapes.items(), starts, self._ends, strict=False)
        }

    def _vmapped(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        def one(own: dict[str, Tensor], samples: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self._module, own, (samples,))
            return outputs

        if len(inputs) == 1:  # this is all that some modules can do
            return one({name: each[0] for name, each in parameters.items()}, inputs[0])[None]
        result: Tensor = vmap(one, randomness="different")(dict(parameters), inputs)
        return result

    def _layer_by_layer(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        x = inputs
        for prefix, layer in self._module.named_children():
            weight, bias = parameters.get(f"{prefix}.weight"), parameters.get(f"{prefix}.bias")
            if isinstance(layer, nn.Linear):
                assert weight is not None
                x = _linear(x, weight, bias)
            elif isinstance(layer, nn.Conv2d):
                assert weight is not None
                in_groups = self._convolve_in_groups
                together = x.device.type != "cpu" if in_groups is None else in_groups
                x = (_convolve_in_groups if together else _convolve_in_turn)(x, weight, bias, layer)
            elif isinstance(layer, nn.Flatten):
                x = x.flatten(2)
            elif isinstance(layer, _POOLS):
                x = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            else:
                x = layer(x)
        return x


def _is_known(module: nn.Module) -> bool:
    """Say whether `_layer_by_layer` computes what the module does."""
    return type(module) is nn.Sequential and not _has_hooks(module) and all(map(_is_known_layer, module))


def _is_known_layer(layer: nn.Module) -> bool:
    if _has_hooks(layer):
        return False
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros"
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.MaxPool2d and layer.return_indices:
        return False
    return type(layer) is nn.Linear or type(layer) in _ENTRYWISE + _POOLS


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x [n, ..., inputs] times each weight [n, outputs, inputs], plus bias [n, outputs]."""
    # In this order the gradient of the weight comes out in the weight's order, not transposed.
    columns = x.flatten(1, -2).transpose(1, 2)
    product = torch.bmm(weight, columns) if bias is None else torch.baddbmm(bias[:, :, None], weight, columns)
    return product.transpose(1, 2).view(*x.shape[:-1], -1)


def _convolve_in_turn(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """Return the convolution of x [n, batch, channels, h, w] with each weight."""
    biases = [None] * len(x) if bias is None else list(bias)
    return torch.stack([_conv2d(*each, layer, 1) for each in zip(x, weight, biases, strict=True)])


def _convolve_in_groups(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
    """Return the same as one convolution of [batch, n * channels, h, w]."""
    channels = x.transpose(0, 1).flatten(1, 2)
    flat_bias = None if bias is None else bias.flatten()
    found = _conv2d(channels, weight.flatten(0, 1), flat_bias, layer, len(x))
    return found.view(len(found), len(x), -1, *found.shape[2:]).transpose(0, 1)


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d, groups: int) -> Tensor:
    return nn.functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
