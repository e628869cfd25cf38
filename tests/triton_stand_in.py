"""A stand-in for Triton that runs a kernel on the processor, one program after the other.

It tells whether a kernel reads and writes the right places, not whether Triton compiles it: that a GPU must
tell. A place that is read or written without a mask lies within the array, or it is an error.
"""

import types

import torch


class Pointer:
    """A place in an array, or many."""

    def __init__(self, array, index=0):
        self.array, self.index = array, index

    def __add__(self, step):
        return Pointer(self.array, self.index + step)


class Language(types.SimpleNamespace):
    """What stands for `triton.language`; the number of the running program is set by whoever runs it."""

    constexpr = object
    float32, int32, int64 = torch.float32, torch.int32, torch.int64
    floor, where = staticmethod(torch.floor), staticmethod(torch.where)
    static_range = range
    program = 0

    def program_id(self, axis):
        return self.program

    def arange(self, first, last):
        return torch.arange(first, last, dtype=torch.int32)

    def zeros(self, shape, dtype):
        return torch.zeros(shape, dtype=dtype)

    def maximum(self, values, least):
        return values.clamp(min=least)

    def minimum(self, values, most):
        return values.clamp(max=most)

    def dot(self, left, right, input_precision):
        return left.float() @ right.float()

    def load(self, pointer, mask=None, other=None):
        index = pointer.index
        index = index if mask is None else torch.where(mask, index, 0)
        values = pointer.array.view(-1)[index.long()]
        return values if mask is None else torch.where(mask, values, other)

    def store(self, pointer, values, mask):
        pointer.array.view(-1)[pointer.index.long()[mask]] = values[mask].to(pointer.array.dtype)


def make_modules():
    """Give modules that stand for `triton` and `triton.language`."""
    language = Language()

    class Kernel:
        def __init__(self, function):
            self.function = function

        def __getitem__(self, grid):
            def run(*arguments, **sizes):
                given = [Pointer(each) if isinstance(each, torch.Tensor) else each for each in arguments]
                for language.program in range(grid[0]):
                    self.function(*given, **sizes)

            return run

    return {"triton": types.SimpleNamespace(jit=Kernel, language=language), "triton.language": language}
