"""A pretended GPU: tensors that claim `cuda`, though they live on the CPU.

`PretendedGpu` is a context. Inside it, whatever Python code puts on `cuda` becomes a `PretendedTensor`. Each
operator of PyTorch then sees which of its tensors claim the GPU, those of the backward pass included. As on a
GPU, mixing devices and converting to NumPy raise. Operators that wait for the GPU are counted.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
_ATEN = torch.ops.aten

WAITING = {
    _ATEN._local_scalar_dense: "item",
    _ATEN.nonzero: "nonzero",
    _ATEN.masked_select: "masked_select",
    _ATEN._unique2: "unique",
    _ATEN.unique_dim: "unique",
    _ATEN.unique_consecutive: "unique_consecutive",
    _ATEN.unique_dim_consecutive: "unique_consecutive",
    _ATEN.bincount: "bincount",
    _ATEN.equal: "equal",
    _ATEN.is_nonzero: "bool",
}
"""Operators whose result the processor needs to go on, and their names."""


class PretendedTensor(Tensor):
    """A tensor that claims to be on the GPU. Its data are those of `inner`, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type, inner: Tensor) -> "PretendedTensor":
        """Wrap a tensor of the CPU."""
        made: PretendedTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CPU,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner.detach()
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The GPU that it claims."""
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Claim the GPU."""
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        """Deny the CPU."""
        return False

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.inner!r})"

    def numpy(self, **_: Any) -> Any:
        """Refuse, as tensors on a GPU do."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse, as tensors on a GPU do."""
        return self.numpy()

    def tolist(self) -> Any:
        """Wait for the GPU and return Python numbers."""
        count_wait("tolist")
        return self.inner.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be stored as a tensor of the CPU, which is what a checkpoint is loaded as."""
        return self.inner.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> "PretendedTensor":
        copied = PretendedTensor(self.inner.clone()).requires_grad_(self.requires_grad)
        return torch.nn.Parameter(copied, self.requires_grad) if _is_parameter(self) else copied  # type: ignore[return-value]

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator on the data, and let its results claim the device of its arguments."""
        kwargs = kwargs or {}
        packet = func.overloadpacket
        tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        if packet is _ATEN.copy_ and not on_gpu(args[0]):
            count_wait("copy to the CPU")
            return args[0].copy_(args[1].inner)
        if packet is not _ATEN.copy_:
            _refuse_mixed(func, args, tensors)
        if packet in WAITING or _has_mask(packet, args):
            count_wait(WAITING.get(packet, "mask as index"))
        if packet is _ATEN.repeat_interleave and kwargs.get("output_size") is None:
            count_wait("repeat_interleave")
        bare_args, bare_kwargs = tree_map_only(PretendedTensor, lambda one: one.inner, (args, kwargs))
        result = func(*bare_args, **bare_kwargs)
        wrapped = tree_map_only(Tensor, PretendedTensor, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


class Waits:
    """Counts where the processor waits for the GPU."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    def add(self, what: str) -> None:
        """Count one wait, with the line of the package that waits."""
        self.places[f"{what} at {_line_of_package()}"] += 1

    @property
    def total(self) -> int:
        """Number of all waits."""
        return self.places.total()


_counting: list[Waits] = []


def count_wait(what: str) -> None:
    """Count a wait in the innermost context."""
    if _counting:
        _counting[-1].add(what)


class PretendedGpu(TorchFunctionMode):
    """A context in which `cuda` is a pretended GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = Waits()

    def __enter__(self) -> "PretendedGpu":
        _counting.append(self.waits)
        self._run_backward = torch.autograd._engine_run_backward
        torch.autograd._engine_run_backward = self._backward  # type: ignore[attr-defined]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.autograd._engine_run_backward = self._run_backward  # type: ignore[attr-defined]
        _counting.remove(self.waits)

    def _backward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the backward pass inside this context, which PyTorch has left for it."""
        super().__enter__()
        try:
            return self._run_backward(*args, **kwargs)
        finally:
            super().__exit__(None, None, None)

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Keep `cuda` from the real operators, and wrap what was asked to be there."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("to", "cuda", "cpu") and args and isinstance(args[0], Tensor):
            return _move(func, name, args, kwargs)
        if name == "pin_memory":
            return args[0]
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted).type == "cuda":
            kwargs["device"] = CPU
            if name in ("tensor", "as_tensor", "new_tensor"):
                count_wait("copy of Python numbers")
            return _wrap(func(*args, **kwargs))
        result = func(*args, **kwargs)
        if wanted is not None:  # another device than that of a tensor among the arguments
            return tree_map_only(PretendedTensor, lambda one: one.inner, result)
        if name == "new_tensor" and isinstance(args[0], PretendedTensor):
            count_wait("copy of Python numbers")
            return _wrap(result)
        return result


def on_gpu(tensor: Tensor) -> bool:
    """Return whether a tensor claims the GPU."""
    return isinstance(tensor, PretendedTensor)


def _is_parameter(tensor: Tensor) -> bool:
    """Return whether a tensor is a parameter of a network."""
    return isinstance(tensor, torch.nn.Parameter)


def _wrap(result: Any) -> Any:
    """Return a result whose tensors claim the GPU; gradients still reach them."""
    return tree_map_only(Tensor, lambda one: one if on_gpu(one) else _ToGpu.apply(one), result)


class _ToGpu(torch.autograd.Function):
    """A copy to the GPU, through which gradients come back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        """Copy there."""
        return PretendedTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Copy back."""
        return gradient.inner if isinstance(gradient, PretendedTensor) else gradient


class _ToCpu(torch.autograd.Function):
    """A copy to the CPU, through which gradients come back."""

    @staticmethod
    def forward(ctx: Any, tensor: PretendedTensor) -> Tensor:  # type: ignore[override]
        """Copy there."""
        return tensor.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Copy back."""
        return PretendedTensor(gradient)


def _move(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Move a tensor, and change its type if that is asked for."""
    tensor, *rest = args
    target: torch.device | None = {"cpu": CPU, "cuda": GPU}.get(name)
    asked = [*rest, *kwargs.values()] if name == "to" else []
    for one in asked:
        if isinstance(one, Tensor):
            target = GPU if on_gpu(one) else CPU
        elif isinstance(one, (str, torch.device)):
            target = torch.device(one)
    kept = [one for one in rest if not isinstance(one, (str, torch.device))] if name == "to" else []
    kept = [one.dtype if isinstance(one, Tensor) else one for one in kept]
    options = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
    moved = tensor
    if target is not None and (target.type == "cuda") != on_gpu(tensor):
        if target.type == "cpu":
            count_wait("copy to the CPU")
        elif not _is_async(rest, kwargs):
            count_wait("blocking copy to the GPU")
        moved = _ToGpu.apply(tensor) if target.type == "cuda" else _ToCpu.apply(tensor)
    kept = [one for one in kept if not isinstance(one, bool)]  # blocking or not
    return func(moved, *kept, **options) if (kept or options) and name == "to" else moved


def _is_async(rest: Iterable[Any], options: Mapping[str, Any]) -> bool:
    """Return whether a copy was asked for that nobody waits for."""
    return bool(options.get("non_blocking", any(one is True for one in rest)))


def _refuse_mixed(func: Any, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Raise if tensors of both devices meet; numbers and CPU indices may."""
    indices = args[1] if func.overloadpacket in (_ATEN.index, _ATEN.index_put, _ATEN.index_put_) else ()
    exempt = {id(one) for one in indices if isinstance(one, Tensor)} if on_gpu(args[0]) else set()
    if exempt and any(isinstance(one, Tensor) and not on_gpu(one) for one in indices):
        count_wait("index from the CPU")
    for one in tensors:
        if not on_gpu(one) and one.dim() > 0 and id(one) not in exempt:
            where = f"{func} of shape {tuple(one.shape)} at {_line_of_package()}"
            raise RuntimeError(f"Expected all tensors to be on the same device, got cuda:0 and cpu: {where}")


def _has_mask(packet: Any, args: tuple[Any, ...]) -> bool:
    """Return whether an index is a mask, whose true entries the processor must count."""
    if packet not in (_ATEN.index, _ATEN.index_put, _ATEN.index_put_):
        return False
    masks = [one for one in args[1] if isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8)]
    return bool(masks) and not (packet is not _ATEN.index and args[2].dim() == 0)


def _line_of_package() -> str:
    """Return the innermost line of the package, as file and number."""
    lines: Iterator[traceback.FrameSummary] = reversed(traceback.extract_stack())
    found = next((one for one in lines if "/src/occfeat/" in one.filename), None)
    return f"{found.filename.split('/src/occfeat/')[-1]}:{found.lineno}" if found else "a test"
