"""TensorRT on an NVIDIA GPU: one CUDA graph a batch size, pinned host memory, one stream.

The only file that a device needs for it. TensorRT and the CUDA bindings are imported when a model is loaded, so that nothing
of them is needed elsewhere. An engine runs on the GPU architecture and TensorRT version that it was built for and on no other;
the file is code in all but name, so it comes out of a signed bundle or from this very machine.

Launching hundreds of small kernels costs more than running them, so the first run of a batch size is recorded as a graph and
every later one replays it. A graph remembers addresses: buffers are as large as the largest batch and stay. Each graph keeps an
execution context of its own, as TensorRT asks for, and all share one scratch memory, for one runs at a time.
"""

import ctypes
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from sightline_contract.errors import ModelError, ToolMissingError
from sightline_contract.model_card import ModelCard
from sightline_contract.targets import Target
from sightline_edge.backends import BackendError, Batch, Floats

# Contexts and graphs cost memory: of more batch sizes than this the one unused for longest goes.
GRAPHS_KEPT: Final = 16
_ALIGNMENT = 256


class Cuda:
    """The calls of CUDA's runtime, with their errors raised as BackendError."""

    def __init__(self) -> None:
        """Find the GPU; raises ToolMissingError where there is none."""
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise ToolMissingError("TensorRT needs CUDA's bindings: install sightline[edge-gpu]") from error
        self.runtime: Any = runtime
        try:
            (count,) = self("cudaGetDeviceCount")
        except BackendError as error:
            raise ToolMissingError(f"no NVIDIA GPU can be used here ({error}): choose a CPU target") from error
        if not count:
            raise ToolMissingError("no NVIDIA GPU is here: choose a CPU target")

    def __call__(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """What the function gives besides its status."""
        try:
            status, *results = getattr(self.runtime, name)(*arguments)
        except RuntimeError as error:  # no driver
            raise BackendError(str(error)) from error
        if int(status):
            raise BackendError(f"{name}: {getattr(status, 'name', status)}")
        return tuple(results)

    def architecture(self) -> str:
        """The GPU's, as in ``sm_90``."""
        attributes = self.runtime.cudaDeviceAttr
        (major,) = self("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMajor, 0)
        (minor,) = self("cudaDeviceGetAttribute", attributes.cudaDevAttrComputeCapabilityMinor, 0)
        return f"sm_{major}{minor}"


def import_tensorrt() -> ModuleType:
    """TensorRT, under the name of its package or of its bindings; raises ToolMissingError."""
    try:
        import tensorrt as trt
    except ImportError:
        try:
            import tensorrt_bindings as trt
        except ImportError as error:
            raise ToolMissingError(
                f"TensorRT cannot be loaded ({error}): install the version that the engines are built with"
            ) from error
    module: ModuleType = trt
    return module


def put_together(pinned: np.ndarray[Any, Any], batch: Batch) -> None:
    """Copy B inputs [...] into the first B places of ``pinned`` [most, ...], as its type; raises BackendError.

    One copy each: stacking them before costs as much again.
    """
    shapes = {each.shape for each in batch}
    if shapes != {pinned.shape[1:]} or len(batch) > len(pinned):
        told = ", ".join(map(str, sorted(shapes)))
        raise BackendError(f"takes 1..{len(pinned)} of {pinned.shape[1:]} and not {len(batch)} of {told or 'none'}")
    for place, each in zip(pinned, batch, strict=False):
        place[...] = each


def take_apart(pinned: np.ndarray[Any, Any]) -> list[Floats]:
    """Each output as it lies in pinned memory, and a copy only where that is not fp32.

    Copying them took longer than running the model: getting a copy's pages from the kernel more than filling them.
    """
    return [each.astype(np.float32, copy=False) for each in pinned]


class TensorRtBackend:
    """An engine on the first GPU."""

    def __init__(self, content: bytes, path: Path, card: ModelCard, target: Target) -> None:
        """Load an engine; raises ModelError where it is another machine's, ToolMissingError where something is missing."""
        self._cuda, self._trt = Cuda(), import_tensorrt()
        here = self._trt.__version__, self._cuda.architecture()
        if here != (target.version, target.architecture):
            raise ModelError(f"{path}: is for {target}, and this is TensorRT {here[0]} on {here[1]}: compile it for this")
        self._cuda("cudaSetDevice", 0)
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise ModelError(f"{path}: is no engine that TensorRT {here[0]} can load: compile it again")
        self._input, self._output = card.input.name, card.output.name
        self._check_tensors(path)
        self._profiles = [
            (int(least[0]), int(best[0]), int(most[0]))
            for least, best, most in (
                self._engine.get_tensor_profile_shape(self._input, profile)
                for profile in range(self._engine.num_optimization_profiles)
            )
        ]
        self.max_batch: int | None = max(most for _, _, most in self._profiles)
        self._graphs: OrderedDict[int, _Graph] = OrderedDict()
        self._buffers = _Buffers(self._cuda)
        (self._stream,) = self._cuda("cudaStreamCreateWithFlags", self._cuda.runtime.cudaStreamNonBlocking)
        try:
            self._allocate()
        except BackendError as error:
            self.close()  # nobody else can: what the constructor raises in has no owner
            raise ModelError(f"{path}: does not fit on this GPU ({error}): free its memory, or take a smaller model") from error

    def run(self, batch: Batch) -> list[Floats]:
        """The outputs to B inputs, copies to and from the GPU included; raises BackendError."""
        if self._engine is None:
            raise BackendError("the engine is closed")
        size = len(batch)
        put_together(self._host_in, batch)
        self._cuda("cudaSetDevice", 0)  # it is each thread's own
        graph = self._graph(size)
        self._copy(self._device_in, self._host_in[:size], to_device=True)
        self._cuda("cudaGraphLaunch", graph.launchable, self._stream)
        self._copy(self._device_out, self._host_out[:size], to_device=False)
        self._cuda("cudaStreamSynchronize", self._stream)
        return take_apart(self._host_out[:size])

    def launch(self, batch: int) -> None:
        """Run what lies in the GPU's input buffer, without copies and without waiting: for measuring."""
        self._cuda("cudaGraphLaunch", self._graph(batch).launchable, self._stream)

    def wait(self) -> None:
        """Wait for all that was launched."""
        self._cuda("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Free graphs, contexts, engine and memory."""
        if self._engine is None:
            return
        self._cuda("cudaStreamSynchronize", self._stream)
        while self._graphs:
            self._forget(self._graphs.popitem()[1])
        self._buffers.close()
        self._cuda("cudaStreamDestroy", self._stream)
        self._engine = self._runtime = None

    def _check_tensors(self, path: Path) -> None:
        names = {self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)}
        if names != {self._input, self._output}:
            raise ModelError(f"{path}: has tensors {sorted(names)} and not those of its card: compile it again")
        for name in names:
            if -1 in tuple(self._engine.get_tensor_shape(name))[1:]:
                raise ModelError(f"{path}: the size of {name} is free, and only the batch may be: compile it again")

    def _allocate(self) -> None:
        """Buffers for the largest batch, and the scratch memory that all contexts share."""
        most = self.max_batch or 1
        self.input_shape = tuple(self._engine.get_tensor_shape(self._input))[1:]
        self.output_shape = tuple(self._engine.get_tensor_shape(self._output))[1:]
        types = [np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))) for name in (self._input, self._output)]
        self._host_in = self._buffers.pinned((most, *self.input_shape), types[0])
        self._host_out = self._buffers.pinned((most, *self.output_shape), types[1])
        self._device_in = self._buffers.device(self._host_in.nbytes)
        self._device_out = self._buffers.device(self._host_out.nbytes)
        self._scratch_bytes = max(int(self._engine.device_memory_size_v2), _ALIGNMENT)
        self._scratch = self._buffers.device(self._scratch_bytes)

    def _graph(self, batch: int) -> "_Graph":
        graph = self._graphs.get(batch)
        if graph is None:
            if len(self._graphs) >= GRAPHS_KEPT:
                self._forget(self._graphs.popitem(last=False)[1])
            graph = self._graphs[batch] = self._record(batch)
        self._graphs.move_to_end(batch)
        return graph

    def _record(self, batch: int) -> "_Graph":
        """A context for the batch size, run once and then recorded."""
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(self._scratch, self._scratch_bytes)
        ready = (
            context.set_optimization_profile_async(self._profile(batch), int(self._stream))
            and context.set_input_shape(self._input, (batch, *self.input_shape))
            and context.set_tensor_address(self._input, self._device_in)
            and context.set_tensor_address(self._output, self._device_out)
        )
        # The first run loads kernels, which cannot be recorded.
        if not ready or not context.execute_async_v3(int(self._stream)):
            raise BackendError(f"TensorRT refuses a batch of {batch}")
        self._cuda("cudaStreamSynchronize", self._stream)
        mode = self._cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda("cudaStreamBeginCapture", self._stream, mode)
        recorded = context.execute_async_v3(int(self._stream))
        (graph,) = self._cuda("cudaStreamEndCapture", self._stream)
        if not recorded:
            raise BackendError(f"TensorRT cannot be recorded with a batch of {batch}")
        (launchable,) = self._cuda("cudaGraphInstantiate", graph, 0)
        self._cuda("cudaGraphDestroy", graph)
        return _Graph(context, launchable)

    def _profile(self, batch: int) -> int:
        """The profile that takes the batch size and whose best one is nearest."""
        fitting = [i for i, (least, _, most) in enumerate(self._profiles) if least <= batch <= most]
        if not fitting:
            raise BackendError(f"no profile takes a batch of {batch}")
        return min(fitting, key=lambda i: abs(self._profiles[i][1] - batch))

    def _forget(self, graph: "_Graph") -> None:
        self._cuda("cudaGraphExecDestroy", graph.launchable)

    def _copy(self, device: int, host: np.ndarray[Any, Any], *, to_device: bool) -> None:
        kinds = self._cuda.runtime.cudaMemcpyKind
        kind = kinds.cudaMemcpyHostToDevice if to_device else kinds.cudaMemcpyDeviceToHost
        pair = (device, host.ctypes.data) if to_device else (host.ctypes.data, device)
        self._cuda("cudaMemcpyAsync", *pair, host.nbytes, kind, self._stream)


class _Graph:
    """A recorded batch size. The context must live as long as the graph."""

    def __init__(self, context: Any, launchable: Any) -> None:
        self.context, self.launchable = context, launchable


class _Buffers:
    """Memory of the GPU, and pinned memory of the host, freed together."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._device: list[int] = []
        self._host: list[int] = []

    def device(self, size_bytes: int) -> int:
        (address,) = self._cuda("cudaMalloc", size_bytes)
        self._device.append(int(address))
        return int(address)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        size_bytes = int(np.prod(shape)) * dtype.itemsize
        (address,) = self._cuda("cudaHostAlloc", size_bytes, 0)
        self._host.append(int(address))
        content: Any = (ctypes.c_byte * size_bytes).from_address(int(address))
        pinned: np.ndarray[Any, Any] = np.frombuffer(content, dtype).reshape(shape)
        return pinned

    def close(self) -> None:
        for address in self._device:
            self._cuda("cudaFree", address)
        for address in self._host:
            self._cuda("cudaFreeHost", address)
        self._device, self._host = [], []
