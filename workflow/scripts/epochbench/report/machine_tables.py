"""The tables about what measured: the machines, their peaks and differences, the code, and how to do it again."""

from dataclasses import fields

from epochbench import wording
from epochbench.aggregate.aggregate import is_stand_in
from epochbench.aggregate.summary import Summary
from epochbench.report.cell_tables import UNKNOWN
from epochbench.timing.protocol import DEVICE, Protocol


def machine_rows(summary: Summary) -> list[dict[str, str]]:
    """Return what each machine is, in words; of CUDA only where one of them has it."""
    has_cuda = any(machine.cuda for machine in summary.machines)
    return [
        {
            "node": machine.node,
            "CPU": machine.cpu,
            "cores usable": str(machine.cores_usable),
            "memory": f"{machine.memory_bytes / 2**30:.0f} GiB",
            "GPU": machine.gpu.name if machine.gpu else "none used",
            "driver": (machine.gpu.driver or "") if machine.gpu else "",
            "system": machine.system,
            "Python": machine.python,
            "torch": machine.torch,
        }
        | ({"CUDA": machine.cuda or "none"} if has_cuda else {})
        for machine in summary.machines
    ]


def peak_rows(summary: Summary) -> list[dict[str, str]]:
    """Return per machine the peaks that calibration reached."""
    return [
        {
            "machine": f"{machine.node}: {machine.gpu.name if machine.gpu else machine.cpu}",
            "matrix product": ", ".join(
                f"{precision} {wording.rate(value, 'FLOP/s')}"
                for precision, value in machine.peaks.matrix_flop_per_second.items()
            ),
            "memory": wording.rate(machine.peaks.memory_bytes_per_second, "B/s"),
            "launches": wording.rate(machine.peaks.launches_per_second, "/s"),
        }
        for machine in summary.machines
        if machine.peaks
    ]


def difference_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the facts in which the machines differ, a column for each machine."""
    return [
        {"fact": difference.fact.replace("_", " ")}
        | {f"{number}: {each.node}": _in_words(each.value) for number, each in enumerate(difference.values, 1)}
        for difference in summary.differences
    ]


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(map(_in_words, value.values()))
    return UNKNOWN if value is None else str(value)


def code_rows(summary: Summary) -> list[dict[str, str]]:
    """Return every version of the code that measured, and the protocol it followed."""
    return [
        {"digest": code.digest, "commit": code.commit or UNKNOWN}
        | {field.name.replace("_", " "): str(getattr(code, field.name)) for field in fields(Protocol)}
        for code in summary.code
    ]


def commands(summary: Summary) -> list[str]:
    """Return what to type to measure the same again."""
    commit = (summary.code[0].commit or "").removesuffix("+changes")
    return [
        "git clone <this repository> epochbench && cd epochbench",
        *([f"git checkout {commit}"] if commit else []),
        f"make run{_data(summary)}",
        "make report    # this page again, from the records that exist",
    ]


def _data(summary: Summary) -> str:
    """Return what `make run` needs to train on the same images; data of one's own is only named."""
    data, keys = summary.dataset, []
    if data.synthetic:
        made = f"shape: {'x'.join(map(str, data.image_shape))}, classes: {data.classes}"
        made += f", train_images: {data.train_images}, test_images: {data.test_images}"
        keys = ["source: synthetic", *([] if is_stand_in(data) else [f"synthetic: {{{made}}}"])]
    keys += [] if summary.code[0].residency == DEVICE else [f"residency: {summary.code[0].residency}"]
    told = f" ARGS=\"--config dataset='{{{', '.join(keys)}}}'\"" if keys else ""
    known = data.synthetic or data.name == "CIFAR-10"
    return told if known else f"{told}    # with the dataset in config/config.yaml: {data.name}"
