"""Displacement and velocity of a box of 512³ particles on one card: wall time, TFLOP/s, share of its peak.

    python benchmarks/structure_formation_gpu.py --profile --variants \\
        dual dual:float16 compiled compiled:float16 dual:float16:512x512x256
    python benchmarks/structure_formation_gpu.py --cells 32 --block_cells 16 --device cpu --dtype float32

A `ResidualEmulator` of 64 features and 7 blocks, whose style is the growth factor D, maps the linear
displacement to the displacement; the velocity is its derivative along dD/dt. Weights are random. Every
variant, a method with its dtype and its blocks, does one block; the fastest then maps the box twice, and the
clock runs from fields in the host's memory to both results on the card. Methods are jvp (torch.func.jvp),
dual (the dual numbers of `differentiate_by_style`), and compiled (these by torch.compile). Blocks carry their
margin and so compute more cells than they give: work counts these, once for each of the two.

Checked on the card: noise of world cells is the processor's; blocks equal the whole, in float32; the velocity
is the difference quotient of the displacement in float64; what half precision changes, and what a variant.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor

from fieldwise.networks.noise import cell_noise
from fieldwise.networks.valid.emulator import ResidualEmulator
from fieldwise.networks.valid.tangents import differentiate_by_style

DENSE_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312}  # bf16 and fp16, of the data sheets
GROWTH, RATE = 0.8, 0.5  # D, and dD/dt in its unit: any numbers of order one

METHODS = ("jvp", "dual", "compiled")
CONVOLUTIONS = ("conv", "cudnn", "xmma", "cutlass", "gemm", "fprop", "mm")  # in names of kernels

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


def differentiate(network: ResidualEmulator, method: str = "dual") -> Step:
    """Return a function of padded fields, (1, 3, z, y, x): displacement and velocity of the cells inside."""
    like = network.first.weight
    growth, rate = (like.new_full((1, 1), value) for value in (GROWTH, RATE))

    def step(fields: Tensor) -> tuple[Tensor, Tensor]:
        if method == "jvp":
            return torch.func.jvp(lambda number: network(fields, number), (growth,), (rate,))
        return differentiate_by_style(network, fields, growth, rate)

    return torch.compile(step, dynamic=False, fullgraph=True) if method == "compiled" else step


def cut(box: Tensor, starts: Sequence[int], cells: Sequence[int], margin: int) -> Tensor:
    """Cut a block and its margin out of a periodic box (3, z, y, x), channels last, as a batch of one."""
    for axis, (start, size) in enumerate(zip(starts, cells, strict=True), start=1):
        places = torch.arange(start - margin, start + size + margin, device=box.device) % box.shape[axis]
        box = box.index_select(axis, places)
    return box[None].contiguous(memory_format=torch.channels_last_3d)


def map_box(step: Step, box: Tensor, cells: Sequence[int], margin: int) -> tuple[Tensor, Tensor]:
    """Map a box (3, z, y, x) to displacement and velocity, block by block."""
    results = torch.empty_like(box), torch.empty_like(box)
    for starts in product(*(range(0, size, each) for size, each in zip(box.shape[1:], cells))):
        inner = (slice(None), *(slice(start, start + size) for start, size in zip(starts, cells)))
        for result, made in zip(results, step(cut(box, starts, cells, margin))):
            result[inner] = made[0]
    return results


def count_work(network: ResidualEmulator, cells: Sequence[int]) -> float:
    """Count the operations of all convolutions of a block, for displacement and tangent."""
    margins = range(2 * network.margin - 2, -1, -2)  # beside the cells, in what each convolution gives
    kernels = [network.first.weight, *(layer.weight for pair in network.blocks for layer in pair.children())]
    layers = [*zip(kernels, margins, strict=True), (network.last.weight, 0)]
    return sum(4 * kernel.numel() * prod(size + margin for size in cells) for kernel, margin in layers)


def clock(function: Callable, *arguments: object) -> tuple[float, object]:
    """Time a call, to the end of what it starts on the card."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    result = function(*arguments)
    wait()
    return time.perf_counter() - start, result


def try_variant(variant: str, network: ResidualEmulator, box: Tensor) -> tuple[float, Step] | None:
    """Time a block of method:dtype:cells, and give the seconds that the box would take; none if it fails."""
    method, dtype, cells = read_variant(variant)
    started = time.perf_counter()
    torch.cuda.empty_cache()
    try:
        step = differentiate(network.to(dtype), method)
        block = cut(box.to(network.last.weight.device, dtype), (0, 0, 0), cells, network.margin)
        step(block)  # compiles, and finds the fastest convolutions
        first = time.perf_counter() - started
        seconds, made = min((clock(step, block) for _ in range(2)), key=lambda timed: timed[0])
        inner = [slice(16 + 2 * network.margin)] * 3  # what a corner is made of
        corner = block[:, :, *inner]
        expected = differentiate(network.float(), "jvp")(corner.float())
        gaps = [f"{apart(each[:, :, :16, :16, :16], other):.1e}" for each, other in zip(made, expected)]
    except Exception as error:  # of memory or of a compiler: the others may do
        print(f"{variant}: fails: {str(error).strip().splitlines()[0][:150]}", flush=True)
        return None
    whole = seconds * box[0].numel() / prod(cells)
    rate = count_work(network, cells) / seconds / 1e12
    print(f"{variant}: {seconds:.3f} s a block, {whole:.2f} s the box, {rate:.3g} TFLOP/s; ", end="")
    print(f"{first:.0f} s to start; {' and '.join(gaps)} from float32 by jvp", flush=True)
    return whole, step


def read_variant(variant: str) -> tuple[str, torch.dtype, list[int]]:
    """Read method, dtype and cells of a block along z, y and x."""
    method, dtype, cells = variant.split(":")
    return method, getattr(torch, dtype), [int(each) for each in cells.split("x")]


def print_profile(step: Step, block: Tensor) -> None:
    """Print what part of the time of a block convolutions take, and its longest kernels."""
    with torch.profiler.profile() as profile:
        clock(step, block)
    device = "device" if block.is_cuda else "cpu"
    times = {
        event.key: (getattr(event, f"self_{device}_time_total"), event.count)
        for event in profile.key_averages()
        if event.device_type == getattr(torch.autograd.DeviceType, block.device.type.upper())
    }
    total = sum(spent for spent, _ in times.values()) or 1.0  # where the profiler sees no kernels
    convolving = sum(spent for key, (spent, _) in times.items() if any(word in key for word in CONVOLUTIONS))
    print(f"profile of a block: {total / 1e6:.3f} s, convolutions {convolving / total:.0%}, the rest by cell")
    for key, (spent, count) in sorted(times.items(), key=lambda item: -item[1][0])[:10]:
        print(f"  {spent / total:5.1%} {count:4d} x {key[:110]}")


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
    parts = map_box(differentiate(network), box, [16] * 3, margin)
    whole = differentiate(network)(cut(box, (0, 0, 0), [48] * 3, margin))
    print("blocks and whole, displacement and velocity: ", end="")
    print(*(f"{apart(part, each[0]):.1e}" for part, each in zip(parts, whole)), "apart")
    halved = differentiate(network.to(dtype))(cut(box.to(dtype), (0, 0, 0), [16] * 3, margin))
    print(f"{str(dtype).removeprefix('torch.')} and float32: ", end="")
    inner = (0, slice(None), *[slice(16)] * 3)
    print(*(f"{apart(half[0], each[inner]):.1e}" for half, each in zip(halved, whole)), "apart")
    network = make_network(features, blocks).to(device).double()
    fields = cut(box.double(), (0, 0, 0), [8] * 3, margin)
    velocity = differentiate(network)(fields)[1]
    later, sooner = (network(fields, fields.new_full((1, 1), GROWTH + RATE * dt)) for dt in (1e-4, -1e-4))
    print(f"velocity and difference quotient: {apart(velocity, (later - sooner) / 2e-4):.1e} apart")


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options(arguments)
    device, variants = options.device, options.variants
    card = torch.cuda.get_device_name() if device != "cpu" else "processor"
    torch.backends.cudnn.allow_tf32 = False
    check(device, getattr(torch, options.dtype), options.features, options.blocks)

    torch.backends.cudnn.benchmark = True
    network = make_network(options.features, options.blocks).to(device)
    host = torch.randn(3, *[options.cells] * 3, device=device).cpu()
    tried = {variant: made for variant in variants if (made := try_variant(variant, network, host))}
    if not tried:
        raise SystemExit("no variant runs")
    best = min(tried, key=lambda variant: tried[variant][0])
    _, dtype, cells = read_variant(best)
    network.to(dtype)
    step, host = tried[best][1], host.to(dtype)
    host = host if device == "cpu" else host.pin_memory()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds = [
        clock(lambda: map_box(step, host.to(device, non_blocking=True), cells, network.margin))[0]
        for _ in range(2)
    ]
    work = count_work(network, cells) * options.cells**3 / prod(cells) / 1e12
    rate = work / min(seconds)
    peak = next((value for name, value in DENSE_TFLOPS.items() if name in card), None)
    print(f"{card}: {options.cells}³ displacement and velocity, {best}: ", end="")
    print(f"{min(seconds):.2f} s ({max(seconds):.2f} s the other time), {work:.4g} TFLOP, ", end="")
    print(f"{rate:.3g} TFLOP/s" + (f", {rate / peak:.0%} of {peak} dense" if peak else ""))
    if device != "cpu":
        print(f"peak of the card's memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    if options.profile:
        print_profile(step, cut(host.to(device), (0, 0, 0), cells, network.margin))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, every variant in full."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=512, help="on a side of the box")
    parser.add_argument("--block_cells", default="256", help="on a side, or along z, y and x: 512x512x256")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", help="or float16, float32")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=["jvp", "dual", "compiled"],
        metavar="METHOD[:DTYPE[:CELLS]]",
        help="jvp, dual or compiled, with --dtype and --block_cells where these are left out",
    )
    parser.add_argument("--profile", action="store_true", help="what the fastest variant spends its time on")
    options = parser.parse_args(arguments)
    for place, variant in enumerate(options.variants):
        given = variant.split(":")
        method, dtype, cells = [*given, *["", options.dtype, options.block_cells][len(given) :]]
        sizes = [min(int(each), options.cells) for each in cells.split("x")]
        sizes = sizes * 3 if len(sizes) == 1 else sizes
        if method not in METHODS or any(options.cells % size for size in sizes):
            parser.error(f"{variant}: no method of {', '.join(METHODS)}, or blocks do not divide --cells")
        options.variants[place] = f"{method}:{dtype}:{'x'.join(map(str, sizes))}"
    return options


if __name__ == "__main__":
    main()
