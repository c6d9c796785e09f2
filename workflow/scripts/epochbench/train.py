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

from epochbench import evidence as gather
from epochbench import gates, machine, provenance
from epochbench.device import autocast, open_device
from epochbench.errors import BenchmarkError
from epochbench.model import build_network, count_flop, count_parameters
from epochbench.record import (
    Cell,
    Conditions,
    Dataset,
    Evidence,
    Gpu,
    Protocol,
    Record,
    Timing,
    Training,
    from_dict,
    seal,
)
from epochbench.roofline import measure_peak
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
    gpu: Gpu | None
    conditions: Conditions
    evidence: Evidence


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
    record = Record(
        cell=task.cell,
        run=task.run,
        started_at=started_at,
        wall_seconds=round(_seconds_since_start(), 3),
        protocol=task.protocol,
        dataset=_dataset(task.manifest),
        timing=measurement.timing,
        training=measurement.training,
        machine=provenance.describe_machine(measurement.gpu),
        conditions=replace(measurement.conditions, lock_wait_seconds=round(lock_wait_seconds, 3)),
        evidence=measurement.evidence,
        code=provenance.code(),
    )
    sealed = seal(record)
    return replace(sealed, gates=gates.findings(sealed))


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
    warmup = _warm_up(task, step, network, batches, device)
    timed = _time_epochs(task, team, step, network, batches, device, console)
    wall = [elapsed.wall_seconds for elapsed in timed.epochs]
    events = [elapsed.event_seconds for elapsed in timed.epochs]
    images = sum(len(labels) for _, labels in batches) * team.size
    timing = Timing(
        epoch_seconds=wall,
        event_seconds=None if None in events else events,
        start_seconds=round(start_seconds, 3),
        load_seconds=load_seconds,
        first_step_seconds=warmup.seconds[0],
        warmup_seconds=sum(warmup.seconds),
        images_per_second=images * len(wall) / sum(wall),
    )
    evaluation = _evaluate(task, network, device) if team.rank == 0 else _Evaluation(0.0, 0.0)
    training = Training(
        parameters=count_parameters(network),
        steps_per_epoch=len(batches),
        warmup_losses=_mean_losses(team, warmup.losses),
        epoch_losses=_mean_losses(team, timed.losses),
        test_accuracy=evaluation.accuracy,
        peak_memory_bytes=team.total([device.peak_memory_bytes()])[0],
    )
    conditions = _conditions(task, team, load, timed)
    evidence = _evidence(task, team, device, network, warmup, timed, evaluation)
    return Measurement(timing, training, device.gpu(), conditions, evidence)


def _mean_losses(team, losses: list[float]) -> list[float | None]:
    """Return the team's mean losses, None for NaN."""
    return [gather.finite(loss / team.size) for loss in team.total(losses)]


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
        self.steps_taken = self.images_taken = 0
        self.seconds = 0.0
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=cell.precision == "fp16")

    def take(self, images, labels):
        """Take one step of the training; count it, and the seconds that the host spent in it."""
        started = time.perf_counter()
        loss = self(images, labels)
        self.seconds += time.perf_counter() - started
        self.steps_taken += 1
        self.images_taken += len(labels)
        return loss

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
    """The first steps: their seconds and losses, and how the first few of them changed the weights."""

    seconds: list[float]
    losses: list[float]
    checked_steps: int
    update: torch.Tensor


@dataclass(frozen=True)
class _Timed:
    """The timed epochs: their times and last losses, and what was counted and read around them."""

    epochs: list
    losses: list[float]
    outer_seconds: float
    step_seconds: float
    steps: int
    images: int
    parameters_moved: float
    activity: machine.Activity
    gpu_states: tuple


def _warm_up(task: Task, step, network, batches, device) -> _Warmup:
    """Take the first steps, each timed by itself; every batch shape is seen, so nothing is compiled later."""
    count = max(1, task.protocol.warmup_steps)
    chosen = [batches[index % len(batches)] for index in range(count)]
    if len(batches[-1][1]) != len(batches[0][1]):
        chosen.append(batches[-1])
    checked = min(len(batches), gather.steps_to_check(task.cell.batch_size, count))
    before = gather.weights(network)
    seconds, losses, update = [], [], None
    for images, labels in chosen:
        device.start()
        loss = step.take(images, labels)
        seconds.append(device.stop().wall_seconds)
        losses.append(float(loss))
        if len(losses) == checked:
            update = gather.weights(network) - before
    return _Warmup(seconds, losses, checked, update)


def _time_epochs(task: Task, team, step, network, batches, device, console) -> _Timed:
    """Time epochs until the protocol is content, with the counters and copies that the gates ask for around them."""
    weights = [parameter.detach().clone() for parameter in network.parameters()]
    counted = step.steps_taken, step.images_taken, step.seconds
    epochs, losses = [], []
    label = f"{task.cell.cell} run {task.run}"
    gpu_before, before = device.gpu_state(), machine.activity()
    gc.collect()
    gc.disable()
    try:
        with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
            outer = time.monotonic()
            while team.decide(not _content(task.protocol, epochs, len(batches))):
                elapsed, loss = _time_epoch(team, step, batches, device)
                epochs.append(elapsed)
                losses.append(loss)
                bar.set_postfix_str(f"{elapsed.wall_seconds:.3g} s/epoch", refresh=False)
                bar.update()
            outer = time.monotonic() - outer
    finally:
        gc.enable()
    return _Timed(
        epochs=epochs,
        losses=losses,
        outer_seconds=outer,
        step_seconds=step.seconds - counted[2],
        steps=step.steps_taken - counted[0],
        images=step.images_taken - counted[1],
        parameters_moved=gather.share_moved(weights, network),
        activity=machine.activity() - before,
        gpu_states=(gpu_before, device.gpu_state()),
    )


def _time_epoch(team, step, batches, device):
    """Time one epoch: every batch once, from an empty queue to an empty queue."""
    team.barrier()
    device.start()
    for images, labels in batches:
        loss = step.take(images, labels)
    # Gradients are averaged in every step, so the others of a team are at most the last update behind.
    elapsed = device.stop()
    return elapsed, float(loss)


def _content(protocol: Protocol, epochs: list, steps_per_epoch: int) -> bool:
    """Tell whether enough epochs were timed: the minimum, and then the precision aimed at or the time allowed."""
    seconds = [elapsed.wall_seconds for elapsed in epochs]
    steps = protocol.warmup_steps + len(seconds) * steps_per_epoch
    if len(seconds) < protocol.min_epochs or steps < protocol.min_steps or sum(seconds) < protocol.min_seconds:
        return len(seconds) >= protocol.max_epochs
    if sum(seconds) >= protocol.max_seconds or len(seconds) >= protocol.max_epochs:
        return True
    return relative_half_width(seconds) <= protocol.precision


@dataclass(frozen=True)
class _Evaluation:
    """How well the network names the test images: the share named rightly, and the mean cross-entropy."""

    accuracy: float
    loss: float


def _evaluate(task: Task, network, device) -> _Evaluation:
    """Evaluate the network as it is after the timed epochs."""
    images, labels = load_split(task.manifest, "test", device.torch_device)
    images = images.contiguous(memory_format=MEMORY_FORMATS[task.cell.memory_format])
    network.eval()
    right = loss = 0.0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            logits = network(batch).float()
            right += int((logits.argmax(dim=1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return _Evaluation(right / len(labels), loss / len(labels))


def _conditions(task: Task, team, load: float | None, timed: _Timed) -> Conditions:
    activity = timed.activity
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
        environment=machine.telling_environment(),
        gpu_before=timed.gpu_states[0],
        gpu_after=timed.gpu_states[1],
    )


def _evidence(task: Task, team, device, network, warmup: _Warmup, timed: _Timed, evaluation: _Evaluation) -> Evidence:
    """Gather what the gates judge, now that the clock has stopped; only the first of a team has all of it."""
    first_losses = [loss / team.size for loss in team.total(warmup.losses[: warmup.checked_steps])]
    steps, images = team.total([timed.steps, timed.images])
    team.barrier()
    loss_deviation, update_deviation = (
        gather.deviations(task, first_losses, warmup.update) if team.rank == 0 else (None, None)
    )
    total_images = timed.images * team.size // len(timed.epochs)
    return Evidence(
        counted_steps=steps // team.size,
        counted_images=images,
        parameters_moved=timed.parameters_moved,
        test_loss=gather.finite(evaluation.loss),
        checked_steps=warmup.checked_steps,
        loss_deviation=loss_deviation,
        update_deviation=update_deviation,
        tf32_allowed=device.tf32_allowed(),
        outer_seconds=timed.outer_seconds,
        step_seconds=timed.step_seconds + sum(elapsed.wait_seconds for elapsed in timed.epochs),
        flop_per_epoch=float(count_flop(task.cell.model) * total_images),
        peak_flop_per_second=measure_peak(device, task.cell.precision) * team.size,
        subnormal_share=gather.subnormal_share(network),
    )


def save_task(path, task: Task) -> None:
    """Write a task for a worker process."""
    Path(path).write_text(json.dumps(asdict(task)))


def load_task(path) -> Task:
    """Read a task that save_task wrote."""
    return from_dict(Task, json.loads(Path(path).read_text()))
