"""A torch module whose parameters, and their gradients, are views of one flat vector."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedcomloc_mpi.errors import UserError
from fedcomloc_mpi.layout import Layout


class FlatModel:
    """Lets algorithms see a module as a vector of d entries, and layers see the vector as their parameters.

    layout: sizes of the parameters in registration order, which is the order of state_dict and of the flat
    vector. names: the parameters' names, in the same order. vector: the vector now bound, [d]. gradient: [d];
    backward adds to it, so clear it (`gradient.zero_()`) before each step; `zero_grad(set_to_none=True)` and
    `module.to(...)` would cut the views. Move the module to its device before it is wrapped.

    Raises UserError if state_dict holds anything that the vector would miss or hold twice (buffers that are
    saved, tied parameters, extra state), or if parameters are frozen, of mixed or other types than float32
    and float64.
    """

    module: nn.Module
    layout: Layout
    names: tuple[str, ...]
    vector: Tensor
    gradient: Tensor

    def __init__(self, module: nn.Module) -> None:
        parameters = _checked_parameters(module)
        self.module = module
        self.names = tuple(parameters)
        self._parameters = tuple(parameters.values())
        self._shapes = tuple(parameter.shape for parameter in self._parameters)
        self.layout = Layout([parameter.numel() for parameter in self._parameters])
        self.gradient = torch.zeros(self.layout.size, dtype=self.dtype, device=self.device)
        self.bind(self.vector_from(module))
        for parameter, piece in zip(self._parameters, self._pieces(self.gradient), strict=True):
            parameter.grad = piece

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters: float32, or float64 in double-precision tests."""
        return self._parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self._parameters[0].device

    def bind(self, vector: Tensor) -> None:
        """Make the parameters views of `vector`: writing to either changes both, nothing is copied.

        `vector` is [d], contiguous, without gradient, of the model's type and device; ValueError otherwise.
        """
        if vector.shape != (self.layout.size,) or not vector.is_contiguous() or vector.requires_grad:
            raise ValueError(
                f"a contiguous vector of {self.layout.size} entries without gradient is needed, "
                f"not shape {tuple(vector.shape)}, strides {vector.stride()}, "
                f"requires_grad {vector.requires_grad}"
            )
        if vector.dtype != self.dtype or vector.device != self.device:
            raise ValueError(
                f"the model is {self.dtype} on {self.device}, the vector {vector.dtype} on {vector.device}"
            )
        self.vector = vector
        for parameter, piece in zip(self._parameters, self._pieces(vector), strict=True):
            parameter.data = piece

    def vector_from(self, module: nn.Module) -> Tensor:
        """Return a new vector [d] with the parameters of `module`, which has this model's structure."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])

    def state_dict_of(self, vector: Tensor) -> dict[str, Tensor]:
        """Return `vector` [d] as the module's state_dict: float32 copies on the CPU, contiguous, in order."""
        return {
            name: piece.detach().to(device="cpu", dtype=torch.float32, copy=True)
            for name, piece in zip(self.names, self._pieces(vector), strict=True)
        }

    def vector_from_state(self, state: Mapping[str, object], where: str) -> Tensor:
        """Return a new vector [d], of the model's type and device, with the values of a state_dict.

        The order of the keys does not matter. Raises UserError, naming `where` the state came from, if names
        or shapes are not the model's, or a value is not a finite number.
        """
        missing = [name for name in self.names if name not in state]
        unknown = [name for name in state if name not in self.names]
        if missing or unknown:
            raise UserError(
                f"{where} does not fit the model: missing {_listed(missing)}; "
                f"not in the model {_listed(unknown)}"
            )
        vector = torch.empty(self.layout.size, dtype=self.dtype, device=self.device)
        for name, piece in zip(self.names, self._pieces(vector), strict=True):
            value = state[name]
            if (
                not isinstance(value, Tensor)
                or value.layout != torch.strided
                or not value.is_floating_point()
            ):
                raise UserError(f"{where}: '{name}' is not a dense floating-point tensor")
            if value.shape != piece.shape:
                raise UserError(
                    f"{where}: '{name}' has shape {tuple(value.shape)}, in the model {tuple(piece.shape)}"
                )
            piece.copy_(value)
        if not bool(torch.isfinite(vector).all()):
            raise UserError(f"{where} holds NaN or an infinity")
        return vector

    def _pieces(self, vector: Tensor) -> list[Tensor]:
        pieces = torch.split_with_sizes(vector, self.layout.sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self._shapes, strict=True)]


def _checked_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    name_of: dict[nn.Parameter, str] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UserError(f"parameter '{name}' has no shape yet: run the lazy module once beforehand")
        if parameter in name_of:
            raise UserError(
                f"parameters '{name_of[parameter]}' and '{name}' are one tensor: "
                "tied parameters are not supported"
            )
        if not parameter.requires_grad:
            raise UserError(f"parameter '{name}' is frozen (requires_grad=False): all must be trained")
        name_of[parameter] = name
    dtypes = {parameter.dtype for parameter in parameters.values()}
    if dtypes not in ({torch.float32}, {torch.float64}):
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "none"
        raise UserError(f"parameters must be all float32 (or all float64), found: {found}")
    if len({parameter.device for parameter in parameters.values()}) > 1:
        raise UserError("parameters must be all on one device")
    # Buffers that are not saved are constants of the module by torch's convention; saved ones are state, and
    # the vector would not carry them to the other ranks.
    saved = [name for name in module.state_dict() if name not in parameters]
    if saved:
        raise UserError(
            f"the model keeps state outside its parameters ({_listed(saved)}), which would not be averaged: "
            "use layers without it, such as GroupNorm in place of BatchNorm"
        )
    return parameters


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"
