"""A device's failures in the user's words."""

import contextlib
import traceback
from collections.abc import Iterator, Sequence

import torch

from epochbench import networks
from epochbench.errors import BenchmarkError
from epochbench.timing.bounds import place_in
from epochbench.timing.cell import Cell
from epochbench.timing.devices import tool_of
from epochbench.timing.examine import UnfitError

# The beginning of what torch's CPU allocator says, in a plain RuntimeError.
NO_MEMORY = "can't allocate memory"
# Triton's words, which torch.compile repeats.
NO_COMPILER = "Failed to find C compiler"


@contextlib.contextmanager
def plain_failures(cell: Cell) -> Iterator[None]:
    """Raise BenchmarkError, in plain words, where a cell is too large for the memory or its device fails."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise BenchmarkError(_too_large(cell, error)) from error
    except torch.AcceleratorError as error:
        graph = ", or choose execution eager, since not every network can be captured" if cell.captures_graph else ""
        places = " and ".join(filter(None, [tool_of(cell), "the kernel's log"]))
        raise BenchmarkError(
            f"cell '{cell.cell}': the GPU failed while it was used ({_first_line(error)}); its other runs are not "
            f"lost. See {places} for why, then run again{graph}"
        ) from error
    except RuntimeError as error:
        if NO_COMPILER in str(error):
            raise BenchmarkError(
                f"cell '{cell.cell}': torch.compile and layers fused need a C compiler ({_first_line(error)}); install "
                "gcc, name one as CC, or choose other layers and execution"
            ) from error
        if NO_MEMORY not in str(error):
            raise
        raise BenchmarkError(_too_large(cell, error)) from error
    except Exception as error:
        # Triton's own errors, told by their module, since most cells never import it.
        if not type(error).__module__.startswith("triton."):
            raise
        raise BenchmarkError(
            f"cell '{cell.cell}': Triton cannot build the kernels of layers {cell.layers} for this GPU "
            f"({_first_line(error)}); choose other layers"
        ) from error


@contextlib.contextmanager
def plain_network(cell: Cell, shape: Sequence[int]) -> Iterator[None]:
    """Raise BenchmarkError, in plain words, where a cell's network cannot be made for, or take, images of a shape.

    Of a user's own file whatever it raises is told, with its line.
    """
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError, BenchmarkError):
        raise
    except (Exception, SystemExit) as error:
        expected = isinstance(error, TOLD_OF_ANY) or networks.is_foreign(cell.model)
        if not expected or NO_MEMORY in str(error) or NO_COMPILER in str(error):
            raise
        place, what = _place_and_words(cell, error)
        raise BenchmarkError(
            f"cell '{cell.cell}': model {cell.model} failed on images of shape {list(shape)} ({what}); "
            f"{place}, or choose another model"
        ) from error


TOLD_OF_ANY = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, ImportError)


def _place_and_words(cell: Cell, error: BaseException) -> tuple[str, str]:
    """Return where to mend a network that failed, and how it failed."""
    if not networks.is_file(cell.model):
        place = "see its documentation" if networks.is_foreign(cell.model) else "see its file in networks/"
        return place, _first_line(error)
    kind = "" if isinstance(error, UnfitError) else f"{type(error).__name__}: "
    place = place_in(traceback.extract_tb(error.__traceback__), networks.sources(cell.model))
    return f"mend {place or networks.defined_at(cell.model)}", f"{kind}{_first_line(error)}"


def _too_large(cell: Cell, error: BaseException) -> str:
    parts = f", micro_batch {cell.micro_batch}" if cell.micro_batch else ""
    return (
        f"cell '{cell.cell}': out of memory with model {cell.model}, batch_size {cell.batch_size}{parts} "
        f"({_first_line(error)}); choose a smaller batch_size, or a micro_batch that fits"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
