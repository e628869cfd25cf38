"""Deformable convolution: every tap of the kernel looks where the features tell it to look.

A plain convolution reads a cell and its eight neighbours. A deformable one (Dai et al. 2017,
arXiv:1703.06211) first predicts, for every cell and every tap, by how much to move the tap, and then reads
there by bilinear interpolation. Outside of the frame everything is zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

try:  # absent from the CPU wheels of PyTorch; raises RuntimeError when built for another version
    from torchvision.ops import deform_conv2d
except (ImportError, RuntimeError):
    deform_conv2d = None

MARGIN = 2  # cells of zeros around the frame: both corners of a tap that lies outside fall into them
CELLS_IN_A_CHUNK = 16384  # of the output, sampled at a time in inference (38 MB at 64 channels)


# Cells. Without a bound no halo is wide enough to be sure that a tiled prediction equals an untiled one.
LARGEST_OFFSET = 8.0


class DeformableConvolution(nn.Module):
    """A convolution that predicts where to read, then reads there; same extent out as in.

    Starts as a plain convolution (offsets of zero) and learns to depart from it.

    >>> layer = DeformableConvolution(64, 64)
    >>> layer(torch.zeros(1, 64, 9, 12)).shape
    torch.Size([1, 64, 9, 12])
    >>> sum(parameter.numel() for parameter in layer.parameters())  # 64*9*18 + 18 and 64*9*64 + 64
    47314
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.offset_conv = nn.Conv2d(in_channels, 2 * kernel_size**2, kernel_size, padding=padding)
        # A plain convolution's parameters, under a plain convolution's names, used at moved places.
        self.deform_conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.start_plain()

    def start_plain(self) -> None:
        """Set the offsets to zero, so that the layer is a plain convolution."""
        nn.init.zeros_(self.offset_conv.weight)
        if self.offset_conv.bias is not None:
            nn.init.zeros_(self.offset_conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (batch, channels, y, x) to (batch, out_channels, y, x)."""
        offsets = self.offset_conv(features).clamp(-LARGEST_OFFSET, LARGEST_OFFSET)  # (batch, 2 * taps, y, x)
        return deformable_convolution(features, offsets, self.deform_conv.weight, self.deform_conv.bias)


def deformable_convolution(
    features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve with every tap moved by its own offset, zero outside of the frame.

    Parameters
    ----------
    features : Tensor
        (batch, in_channels, y, x).
    offsets : Tensor
        (batch, 2 * taps, y, x) in cells: how far to move each tap in x (first half of the channels) and in
        y (second half), taps row by row. This is Chainer's order; torchvision's is `interleave_offsets`.
    weight : Tensor
        (out_channels, in_channels, k, k), k odd.
    bias : Tensor, optional
        (out_channels,).

    Returns
    -------
    Tensor
        (batch, out_channels, y, x).

    Notes
    -----
    In inference the frame is worked off in chunks of rows, so that the memory needed besides input and
    output does not grow with the frame. Differentiable once in all arguments.

    Examples
    --------
    A tap of one, moved by half a cell in x, averages two neighbours:

    >>> features = torch.tensor([[[[0.0, 10.0, 20.0, 30.0]]]])
    >>> offsets = torch.zeros(1, 2, 1, 4)
    >>> offsets[:, 0] = 0.5
    >>> deformable_convolution(features, offsets, torch.ones(1, 1, 1, 1))
    tensor([[[[ 5., 15., 25., 15.]]]])
    """
    with torch.autocast(features.device.type, enabled=False):  # positions need all their digits
        features, offsets = features.to(weight.dtype), offsets.to(weight.dtype)
        if deform_conv2d is not None and features.is_cuda:
            moved = interleave_offsets(offsets)
            return deform_conv2d(features, moved, weight, bias, padding=weight.shape[-1] // 2)
        if torch.is_grad_enabled():  # the backward pass needs everything at once anyway
            rows_in_a_chunk = offsets.shape[2]
        else:
            rows_in_a_chunk = max(1, CELLS_IN_A_CHUNK // (offsets.shape[0] * offsets.shape[3]))
        output = _sample_and_weigh(features, offsets, weight, rows_in_a_chunk)
        if bias is not None:
            output = output + bias
        return output.movedim(-1, 1)  # (batch, out_channels, y, x), channels last in memory


def interleave_offsets(offsets: Tensor) -> Tensor:
    """Reorder offsets from all x, then all y, to torchvision's y and x of each tap in turn.

    >>> interleave_offsets(torch.tensor([1, 2, 10, 20]).view(1, 4, 1, 1)).flatten().tolist()
    [10, 1, 20, 2]
    """
    along_x, along_y = offsets.chunk(2, dim=1)
    return torch.stack((along_y, along_x), dim=2).flatten(1, 2)


def _sample_and_weigh(features: Tensor, offsets: Tensor, weight: Tensor, rows_in_a_chunk: int) -> Tensor:
    """Return (batch, y, x, out_channels) without bias."""
    out_channels, in_channels, kernel_size, _ = weight.shape
    table = functional.pad(features.movedim(1, -1), (0, 0, MARGIN, MARGIN, MARGIN, MARGIN))
    table = table.reshape(-1, in_channels)  # (cells with their margin, in_channels)
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, out_channels)  # (taps * in_channels, out_channels)
    if out_channels == 1:  # multiplied first: then 9 numbers a cell are sampled instead of 9 * in_channels
        table = table @ matrix.view(-1, in_channels).T  # (cells with their margin, taps)
    chunks = []
    for first_row in range(0, offsets.shape[2], rows_in_a_chunk):
        cells, shares = _corners(offsets, first_row, rows_in_a_chunk, kernel_size)
        if out_channels == 1:
            chunk = _sample_products(table, cells, shares)
        else:
            chunk = _sample_features(table, cells, shares) @ matrix
        chunks.append(chunk.view(*cells.shape[:3], out_channels))
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)


def _sample_features(table: Tensor, cells: Tensor, shares: Tensor) -> Tensor:
    """Return the features at every tap, (cells of the output, taps * in_channels)."""
    taps, in_channels = cells.shape[3], table.shape[1]
    sampled = functional.embedding_bag(
        cells.view(-1, 4), table, per_sample_weights=shares.view(-1, 4), mode="sum"
    )
    return sampled.view(-1, taps * in_channels)


def _sample_products(table: Tensor, cells: Tensor, shares: Tensor) -> Tensor:
    """Return the sum over all taps of the products in the table, (cells of the output,)."""
    taps = table.shape[1]
    places = cells * taps + torch.arange(taps, device=cells.device)[:, None]
    # index_select: the backward pass of embedding_bag sorts, twenty times slower on single numbers
    products = table.view(-1).index_select(0, places.view(-1)).view(-1, 4 * taps)
    return (products * shares.view(-1, 4 * taps)).sum(dim=1)


def _corners(offsets: Tensor, first_row: int, number: int, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Return rows of the table and bilinear weights, both (batch, y, x, taps, 4).

    The fraction comes from the offset alone and the cell is counted in integers: a frame cut out of a larger
    one gives the same digits wherever its origin lies.
    """
    batch, _, height, width = offsets.shape
    moves = offsets[:, :, first_row : first_row + number].movedim(1, -1).contiguous()  # (b, y, x, 2 taps)
    whole = moves.detach().floor()
    right, down = (moves - whole).chunk(2, dim=-1)  # shares of the far corner, (b, y, x, taps)
    left, up = 1 - right, 1 - down
    limit = float(height + width)  # farther is outside in any case; a NaN keeps its NaN in the shares
    steps = whole.nan_to_num(0.0).clamp(-limit, limit).long()

    device, half = offsets.device, kernel_size // 2
    tap = torch.arange(kernel_size**2, device=device)
    column = torch.arange(width, device=device)[:, None] + tap % kernel_size - half  # (x, taps)
    row = torch.arange(first_row, first_row + moves.shape[1], device=device)[:, None, None]
    row = row + tap // kernel_size - half  # (y, 1, taps)
    step_x, step_y = steps.chunk(2, dim=-1)
    x = (column + step_x).clamp(-MARGIN, width) + MARGIN
    y = (row + step_y).clamp(-MARGIN, height) + MARGIN

    table_width, table_height = width + 2 * MARGIN, height + 2 * MARGIN
    frame = torch.arange(batch, device=device).view(-1, 1, 1, 1) * table_height
    corner = (frame + y) * table_width + x
    cells = torch.stack((corner, corner + 1, corner + table_width, corner + table_width + 1), dim=-1)
    shares = torch.stack((up * left, up * right, down * left, down * right), dim=-1)
    return cells, shares
