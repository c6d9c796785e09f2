"""One run of one cell: load, build, warm up, time epochs, evaluate; the result is a record."""

import gc
import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
from torch.nn import functional
from tqdm import tqdm

from epochbench import machine, provenance
from epochbench.device import autocast, open_device
from epochbench.errors import BenchmarkError
from epochbench.model import build_network, count_parameters
from epochbench.record import (
    Cell,
    Conditions,
    Dataset,
    Machine,
    Protocol,
    Record,
    Timing,
    Training,
    from_dict,
)
from epochbench.shard import load_split, read_manifest, verify_shards
from epochbench.statistics import relative_half_width

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
EVALUATION_BATCH = 1000
# PyTorch's own advice before a capture: a few steps on a side stream.
GRAPH_WARMUP_STEPS = 3


@dataclass(frozen=True)
class Task:
    """What one run needs to know."""

    cell: Cell
    run: int
    protocol: Protocol
    manifest: str
    threads: int


@dataclass(frozen=True)
class Measurement:
    """What one run found, before it is joined with where and when."""

    timing: Timing
    training: Training
    machine: Machine
    conditions: Conditions


class Solo:
    """One process that trains alone; workers.py has the team of several."""

    rank, size = 0, 1

    def wrap(self, network):
        """Return the network as this team trains it."""
        return network

    def barrier(self) -> None:
        """Wait for the others."""

    def total(self, values: list[float]) -> list[float]:
        """Return the sum over the team of each value."""
        return values

    def decide(self, choice: bool) -> bool:
        """Return what the first of the team decides."""
        return choice


def run_cell(task: Task, lock_wait_seconds: float = 0.0, console=None) -> Record:
    """Train one cell in this process, or in as many as it asks for, and return the record.

    Raises BenchmarkError where the cell cannot be run on this machine or on this data.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    verify_shards(task.manifest)
    if task.cell.processes > 1:
        from epochbench.workers import measure_in_team

        measurement = measure_in_team(task)
    else:
        measurement = measure(task, Solo(), console)
    return Record(
        cell=task.cell,
        run=task.run,
        started_at=started_at,
        wall_seconds=round(_seconds_since_start(), 3),
        protocol=task.protocol,
        dataset=_dataset(task.manifest),
        timing=measurement.timing,
        training=measurement.training,
        machine=measurement.machine,
        conditions=replace(measurement.conditions, lock_wait_seconds=round(lock_wait_seconds, 3)),
        code=provenance.code(),
    )


def measure(task: Task, team, console=None) -> Measurement:
    """Measure one cell in this process, as one of a team; every time is in seconds."""
    start_seconds = _seconds_since_start()
    load = machine.load_average()
    torch.set_num_threads(task.threads)
    device = open_device(task.cell, team.rank)
    batches, load_seconds = _load(task, team, device)
    network = build_network(task.cell.model, task.protocol.seed)
    network = network.to(device.torch_device, memory_format=MEMORY_FORMATS[task.cell.memory_format])
    step = build_step(task, team.wrap(network), device)
    warmup = _warm_up(task, step, batches, device)
    epochs, activity = _time_epochs(task, team, step, batches, device, console)
    accuracy = _evaluate(task, network, device) if team.rank == 0 else 0.0
    team.barrier()
    images = sum(len(labels) for _, labels in batches) * team.size
    wall = [elapsed.wall_seconds for elapsed, _ in epochs]
    events = [elapsed.event_seconds for elapsed, _ in epochs]
    return Measurement(
        Timing(
            epoch_seconds=wall,
            event_seconds=None if None in events else events,
            start_seconds=round(start_seconds, 3),
            load_seconds=load_seconds,
            first_step_seconds=warmup.seconds[0],
            warmup_seconds=sum(warmup.seconds),
            images_per_second=images * len(wall) / sum(wall),
        ),
        Training(
            parameters=count_parameters(network),
            steps_per_epoch=len(batches),
            warmup_losses=[loss / team.size for loss in team.total(warmup.losses)],
            epoch_losses=[loss / team.size for loss in team.total([loss for _, loss in epochs])],
            test_accuracy=accuracy,
            peak_memory_bytes=team.total([device.peak_memory_bytes()])[0],
        ),
        provenance.describe_machine(device.gpu()),
        _conditions(task, team, load, activity),
    )


def _seconds_since_start() -> float:
    """Return how long ago this process was started, the interpreter and the imports included."""
    return time.time() - psutil.Process().create_time()


def _dataset(manifest_path: str) -> Dataset:
    manifest = read_manifest(manifest_path)
    return Dataset(
        name=manifest["source"]["name"],
        synthetic=manifest["source"]["synthetic"],
        fingerprint=manifest["fingerprint"],
        train_images=manifest["splits"]["train"]["images"],
        test_images=manifest["splits"]["test"]["images"],
    )


def _load(task: Task, team, device) -> tuple[list[tuple], float]:
    """Load the training images onto the device, cut into batches in the network's memory format."""
    device.start()
    images, labels = load_split(task.manifest, "train", device.torch_device)
    cell = task.cell
    if cell.batch_size > len(labels) or len(labels) % cell.batch_size % cell.processes:
        raise BenchmarkError(
            f"cell '{cell.cell}': batch_size {cell.batch_size} with {cell.processes} processes does not fit "
            f"{len(labels)} training images; choose at most as many, and divisible by the processes"
        )
    layout = MEMORY_FORMATS[cell.memory_format]
    batches = [
        (_share(batch, team).contiguous(memory_format=layout), _share(truth, team))
        for batch, truth in zip(images.split(cell.batch_size), labels.split(cell.batch_size), strict=True)
    ]
    return batches, device.stop().wall_seconds


def _share(batch, team):
    """Return this worker's equal part of a batch."""
    return batch.chunk(team.size)[team.rank] if team.size > 1 else batch


class Step:
    """One full training step: forward, backward, update. Images and labels in, the batch's mean loss out."""

    def __init__(self, task: Task, network, device):
        protocol, cell = task.protocol, task.cell
        self.network = network
        self.device = device
        self.precision = cell.precision
        self.micro_batch = cell.micro_batch
        # Fused: one kernel for all parameters, and no question to the host, which a graph could not hold.
        fused = True if cell.execution == "cuda_graph" else None
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=protocol.learning_rate, momentum=protocol.momentum, fused=fused
        )
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=cell.precision == "fp16")

    def loss(self, images, labels):
        """Return the mean cross-entropy, softmax included."""
        with autocast(self.device, self.precision):
            return functional.cross_entropy(self.network(images), labels)

    def __call__(self, images, labels):
        """Take the step; the loss stays on the device, so that nothing waits for it."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate(images, labels) if self.micro_batch else self._whole(images, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _whole(self, images, labels):
        loss = self.loss(images, labels)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _accumulate(self, images, labels):
        """Add up the gradients of micro-batches, each weighted by its share, which is the whole batch's gradient."""
        total = torch.zeros((), device=images.device)
        for part, truth in zip(images.split(self.micro_batch), labels.split(self.micro_batch), strict=True):
            loss = self.loss(part, truth) * (len(truth) / len(labels))
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total


class CompiledStep(Step):
    """The same step with the forward pass, its loss and their gradients compiled by torch.compile."""

    def __init__(self, task: Task, network, device):
        super().__init__(task, network, device)
        self.loss = torch.compile(self.loss, dynamic=False)


class GraphStep(Step):
    """The same step captured once for each batch shape as a CUDA graph, and replayed from static inputs."""

    def __init__(self, task: Task, network, device):
        super().__init__(task, network, device)
        self.graphs = {}

    def __call__(self, images, labels):
        """Replay the step on these images; the first of each batch shape captures it."""
        if len(labels) not in self.graphs:
            self.graphs[len(labels)] = self._capture(images, labels)
        graph, static_images, static_labels, loss = self.graphs[len(labels)]
        static_images.copy_(images)
        static_labels.copy_(labels)
        graph.replay()
        return loss

    def _capture(self, images, labels):
        """Capture one step; the steps that PyTorch wants before a capture leave no trace in the weights."""
        static_images, static_labels = images.clone(), labels.clone()
        before = self._state()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(GRAPH_WARMUP_STEPS):
                super().__call__(static_images, static_labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = super().__call__(static_images, static_labels)
        self._restore(before)
        return graph, static_images, static_labels, loss

    def _state(self) -> list:
        """Copy the weights, buffers and momenta."""
        return [tensor.clone() for tensor in self._tensors()]

    def _restore(self, state: list) -> None:
        """Put a state back in place; momenta that did not exist yet become zero, which is where they begin."""
        with torch.no_grad():
            for index, tensor in enumerate(self._tensors()):
                tensor.copy_(state[index]) if index < len(state) else tensor.zero_()

    def _tensors(self) -> list:
        momenta = [state["momentum_buffer"] for state in self.optimizer.state.values() if "momentum_buffer" in state]
        return [*self.network.state_dict().values(), *momenta]


STEPS = {"eager": Step, "compile": CompiledStep, "cuda_graph": GraphStep}


def build_step(task: Task, network, device) -> Step:
    """Return the training step that a cell's `execution` names."""
    network.train()
    return STEPS[task.cell.execution](task, network, device)


@dataclass(frozen=True)
class _Warmup:
    seconds: list[float]
    losses: list[float]


def _warm_up(task: Task, step, batches, device) -> _Warmup:
    """Take the first steps, each timed by itself; every batch shape is seen, so nothing is compiled later."""
    count = max(1, task.protocol.warmup_steps)
    chosen = [batches[index % len(batches)] for index in range(count)]
    if len(batches[-1][1]) != len(batches[0][1]):
        chosen.append(batches[-1])
    seconds, losses = [], []
    for images, labels in chosen:
        device.start()
        loss = step(images, labels)
        seconds.append(device.stop().wall_seconds)
        losses.append(float(loss))
    return _Warmup(seconds, losses)


def _time_epochs(task: Task, team, step, batches, device, console):
    """Time epochs until the protocol is content: [(elapsed, loss of the last step)], and what the machine did."""
    epochs = []
    before = machine.activity()
    gc.collect()
    gc.disable()
    label = f"{task.cell.cell} run {task.run}"
    try:
        with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
            while team.decide(not _content(task.protocol, epochs, len(batches))):
                epochs.append(_time_epoch(team, step, batches, device))
                bar.set_postfix_str(f"{epochs[-1][0].wall_seconds:.3g} s/epoch", refresh=False)
                bar.update()
    finally:
        gc.enable()
    return epochs, machine.activity() - before


def _time_epoch(team, step, batches, device):
    """Time one epoch: every batch once, from an empty queue to an empty queue."""
    team.barrier()
    device.start()
    for images, labels in batches:
        loss = step(images, labels)
    team.barrier()
    elapsed = device.stop()
    return elapsed, float(loss)


def _content(protocol: Protocol, epochs: list, steps_per_epoch: int) -> bool:
    """Tell whether enough epochs were timed: the minimum, and then the precision aimed at or the time allowed."""
    seconds = [elapsed.wall_seconds for elapsed, _ in epochs]
    steps = protocol.warmup_steps + len(seconds) * steps_per_epoch
    if len(seconds) < protocol.min_epochs or steps < protocol.min_steps or sum(seconds) < protocol.min_seconds:
        return len(seconds) >= protocol.max_epochs
    if sum(seconds) >= protocol.max_seconds or len(seconds) >= protocol.max_epochs:
        return True
    return relative_half_width(seconds) <= protocol.precision


def _evaluate(task: Task, network, device) -> float:
    """Return the share of test images whose class the network names, as it is after the timed epochs."""
    images, labels = load_split(task.manifest, "test", device.torch_device)
    images = images.contiguous(memory_format=MEMORY_FORMATS[task.cell.memory_format])
    network.eval()
    right = 0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            right += int((network(batch).argmax(dim=1) == truth).sum())
    return right / len(labels)


def _conditions(task: Task, team, load: float | None, activity: machine.Activity) -> Conditions:
    own = [activity.minor_page_faults, activity.involuntary_context_switches, activity.own_cpu_seconds]
    page_faults, switches, own_seconds, threads = team.total([*own, torch.get_num_threads()])
    return Conditions(
        threads=threads,
        allocator=task.cell.allocator,
        lock_wait_seconds=0.0,
        load_average=load,
        minor_page_faults=page_faults,
        involuntary_context_switches=switches,
        own_cpu_seconds=round(own_seconds, 3),
        other_cpu_seconds=round(max(0.0, activity.busy_cpu_seconds - own_seconds), 3),
        steal_seconds=None if activity.steal_seconds is None else round(activity.steal_seconds, 3),
    )


def save_task(path, task: Task) -> None:
    """Write a task for a worker process."""
    Path(path).write_text(json.dumps(asdict(task)))


def load_task(path) -> Task:
    """Read a task that save_task wrote."""
    return from_dict(Task, json.loads(Path(path).read_text()))
