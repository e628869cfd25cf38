"""Displacement and velocity of a box of 512³ particles on one card: wall time, TFLOP/s, share of its peak.

    python benchmarks/structure_formation_gpu.py
    python benchmarks/structure_formation_gpu.py --cells 32 --block_cells 16 --device cpu --dtype float32

A `ResidualEmulator` of 64 features and 7 blocks, whose style is the growth factor D, maps the linear
displacement to the displacement; the velocity is its forward-mode derivative along dD/dt (torch.func.jvp).
Weights are random. The clock runs from fields in the host's memory to both results on the card. Blocks carry
their margin and so compute more cells than they give: work counts these, once for each of the two. The
step is compiled where that is faster, and runs as it is where compilation fails.

Checked on the card: noise of world cells is the processor's; blocks equal the whole, in float32; the velocity
is the difference quotient of the displacement in float64, and what half precision changes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from fieldwise.networks.noise import cell_noise
from fieldwise.networks.valid.emulator import ResidualEmulator

DENSE_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312}  # bf16 and fp16, of the data sheets
GROWTH, RATE = 0.8, 0.5  # D, and dD/dt in its unit: any numbers of order one

Step = Callable[[Tensor], tuple[Tensor, Tensor]]


def make_network(features: int, blocks: int, **options: int) -> ResidualEmulator:
    """Make an emulator every weight of which counts, those that start at zero too."""
    torch.manual_seed(7)
    network = ResidualEmulator(3, 3, features=features, blocks=blocks, style_numbers=1, **options)
    for name, parameter in network.named_parameters():
        if ".style." in name or name == "last.weight":
            torch.nn.init.normal_(parameter, std=0.1)
    network.boundary = "valid"
    return network.eval().requires_grad_(False)


def differentiate(network: ResidualEmulator) -> Step:
    """Return a function of padded fields, (1, 3, z, y, x): displacement and velocity of the cells inside."""
    like = network.first.weight
    growth, rate = (like.new_full((1, 1), value) for value in (GROWTH, RATE))

    def step(fields: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(lambda number: network(fields, number), (growth,), (rate,))

    return step


def cut(box: Tensor, starts: Sequence[int], cells: int, margin: int) -> Tensor:
    """Cut a block and its margin out of a periodic box (3, z, y, x), channels last, as a batch of one."""
    for axis, start in enumerate(starts, start=1):
        places = torch.arange(start - margin, start + cells + margin, device=box.device) % box.shape[axis]
        box = box.index_select(axis, places)
    return box[None].contiguous(memory_format=torch.channels_last_3d)


def map_box(step: Step, box: Tensor, cells: int, margin: int) -> tuple[Tensor, Tensor]:
    """Map a box (3, z, y, x) to displacement and velocity, block by block."""
    results = torch.empty_like(box), torch.empty_like(box)
    for starts in product(*(range(0, size, cells) for size in box.shape[1:])):
        inner = (slice(None), *(slice(start, start + cells) for start in starts))
        for result, made in zip(results, step(cut(box, starts, cells, margin))):
            result[inner] = made[0]
    return results


def count_work(network: ResidualEmulator, box: int, cells: int) -> float:
    """Count the operations of all convolutions of all blocks, for displacement and tangent."""
    sizes = range(cells + 2 * network.margin - 2, cells - 1, -2)  # of what each convolution gives
    kernels = [network.first.weight, *(layer.weight for pair in network.blocks for layer in pair.children())]
    each = sum(2 * kernel.numel() * size**3 for kernel, size in zip(kernels, sizes, strict=True))
    return 2 * (each + 2 * network.last.weight.numel() * cells**3) * (box / cells) ** 3


def clock(function: Callable, *arguments: object) -> tuple[float, object]:
    """Time a call, to the end of what it starts on the card."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    result = function(*arguments)
    wait()
    return time.perf_counter() - start, result


def choose_step(step: Step, example: Tensor) -> Step:
    """Compile a step where that is faster; both have run once, so that what they look up is found."""
    step(example)
    plain = clock(step, example)[0]
    try:
        compiled = torch.compile(step, dynamic=False)
        started = time.perf_counter()
        compiled(example)
        fused = clock(compiled, example)[0]
    except Exception as error:
        print(f"a block takes {plain:.3f} s; not compiled: {str(error).splitlines()[0][:80]}")
        return step
    print(
        f"a block takes {plain:.3f} s, compiled {fused:.3f} s ({time.perf_counter() - started:.0f} s to do)"
    )
    return compiled if fused < plain else step


def apart(values: Tensor, expected: Tensor) -> float:
    """Return the relative L2 distance."""
    return float((values.double() - expected.double()).norm() / expected.double().norm())


def check(device: str, dtype: torch.dtype, features: int, blocks: int) -> None:
    """Print how noise, blocks and velocities on the card keep to what they should be."""
    window = {"seed": 7, "member": 3, "level": 2, "origin": (-5, 11, 500), "shape": (64, 64, 64)}
    noise, expected = cell_noise(**window, device=device).cpu(), cell_noise(**window)
    print(
        f"noise: {int((noise != expected).sum())} of {noise.numel()} cells are not the processor's, ", end=""
    )
    print(f"at most {float((noise - expected).abs().max()):.1e} apart")
    network = make_network(features, blocks).to(device)
    box, margin = torch.randn(3, 48, 48, 48, device=device), network.margin
    parts = map_box(differentiate(network), box, 16, margin)
    whole = differentiate(network)(cut(box, (0, 0, 0), 48, margin))
    print("blocks and whole, displacement and velocity: ", end="")
    print(*(f"{apart(part, each[0]):.1e}" for part, each in zip(parts, whole)), "apart")
    halved = differentiate(network.to(dtype))(cut(box.to(dtype), (0, 0, 0), 16, margin))
    print(f"{str(dtype).removeprefix('torch.')} and float32: ", end="")
    inner = (0, slice(None), *[slice(16)] * 3)
    print(*(f"{apart(half[0], each[inner]):.1e}" for half, each in zip(halved, whole)), "apart")
    network = make_network(features, blocks).to(device).double()
    fields = cut(box.double(), (0, 0, 0), 8, margin)
    velocity = differentiate(network)(fields)[1]
    later, sooner = (network(fields, fields.new_full((1, 1), GROWTH + RATE * dt)) for dt in (1e-4, -1e-4))
    print(f"velocity and difference quotient: {apart(velocity, (later - sooner) / 2e-4):.1e} apart")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=512, help="on a side of the box")
    parser.add_argument("--block_cells", type=int, default=256)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", help="or float16, float32")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    dtype, device = getattr(torch, options.dtype), options.device
    cells = min(options.block_cells, options.cells)
    if options.cells % cells:
        parser.error(f"--block_cells {cells} is no divisor of --cells {options.cells}")
    card = torch.cuda.get_device_name() if device != "cpu" else "processor"
    torch.backends.cudnn.allow_tf32 = False
    check(device, dtype, options.features, options.blocks)

    torch.backends.cudnn.benchmark = True
    network = make_network(options.features, options.blocks).to(device, dtype)
    host = torch.randn(3, *[options.cells] * 3, device=device, dtype=dtype).cpu()
    host = host if device == "cpu" else host.pin_memory()
    step = differentiate(network)
    example = cut(host[:, :cells, :cells, :cells].to(device), (0, 0, 0), cells, network.margin)
    if options.compile:
        step = choose_step(step, example)
    step(example)
    del example
    seconds = [
        clock(lambda: map_box(step, host.to(device, non_blocking=True), cells, network.margin))[0]
        for _ in range(2)
    ]
    work = count_work(network, options.cells, cells) / 1e12
    rate = work / min(seconds)
    peak = next((value for name, value in DENSE_TFLOPS.items() if name in card), None)
    print(
        f"{card}: {options.cells}³ displacement and velocity, {options.dtype}, blocks of {cells}³: ", end=""
    )
    print(f"{min(seconds):.2f} s ({max(seconds):.2f} s the other time), {work:.4g} TFLOP, ", end="")
    print(f"{rate:.3g} TFLOP/s" + (f", {rate / peak:.0%} of {peak} dense" if peak else ""))
    if device != "cpu":
        print(f"peak of the card's memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
