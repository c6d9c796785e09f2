"""Who trains together: one process alone, or several that torch.distributed joins."""

import os
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


class Team(Protocol):
    """The processes that train one network together; `rank` counts them from 0 to `size` - 1."""

    rank: int
    size: int

    def wrap(self, network: "nn.Module") -> "nn.Module":
        """Return the network as this team trains it: with its gradients averaged after each backward pass."""

    def barrier(self) -> None:
        """Wait until every process is here."""

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of their ranks."""

    def total(self, values: list[float]) -> list[float]:
        """Return the sum over the team of each value."""
        return [sum(column) for column in zip(*self.gather(values), strict=True)]

    def total_if_known(self, value: float | None) -> float | None:
        """Return the sum over the team of a value, None where one of them does not know it."""
        total, unknown = self.total([value or 0.0, float(value is None)])
        return None if unknown else total

    def decide(self, choice: bool) -> bool:
        """Return what the first process decides, so that all do the same."""


class Solo(Team):
    """One process that trains alone."""

    rank, size = 0, 1

    def wrap(self, network: "nn.Module") -> "nn.Module":
        """Return the network itself."""
        return network

    def barrier(self) -> None:
        """Go on at once."""

    def gather(self, value: T) -> list[T]:
        """Return the value alone."""
        return [value]

    def decide(self, choice: bool) -> bool:
        """Return the choice."""
        return choice


class Workers(Team):
    """The processes that torchrun started, as torch.distributed joins them."""

    def __init__(self, backend: str):
        import torch.distributed as distributed

        self.distributed = distributed
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(backend)

    def wrap(self, network: "nn.Module") -> "nn.Module":
        """Return the network with its gradients averaged over the team after each backward pass."""
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.distributed.barrier()

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of their ranks."""
        everyone = [None] * self.size
        self.distributed.all_gather_object(everyone, value)
        return everyone

    def decide(self, choice: bool) -> bool:
        """Return what the first process decides."""
        choices = [choice]
        self.distributed.broadcast_object_list(choices, src=0)
        return choices[0]
