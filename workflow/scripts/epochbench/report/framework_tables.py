"""The tables about frameworks: what each reached, the ratios between them, and GPU against CPU within each."""

from epochbench import wording
from epochbench.aggregate.framework_names import name_of
from epochbench.aggregate.standings import FrameworkCells, FrameworkRatio, Standing
from epochbench.aggregate.summary import Summary

AT_BEST = "each at its best"


def framework_rows(summary: Summary) -> list[dict[str, str]]:
    """Return a row for each framework on each device, the fastest first; none where there is one framework alone."""
    standings = summary.frameworks.standings if summary.frameworks else []
    return [_reached(each, _device(standing, standings)) for standing in standings for each in standing.frameworks]


def _device(standing: Standing, standings: list[Standing]) -> str:
    """Return the device in words, its hardware where there is another of the kind."""
    several = sum(other.device == standing.device for other in standings) > 1
    return standing.hardware if several else standing.device.upper()


def _reached(each: FrameworkCells, device: str) -> dict[str, str]:
    reference = each.reference_seconds
    return {
        "cell": each.best,
        "framework": each.name,
        "device": device,
        "epoch": wording.interval_seconds(each.best_seconds),
        "its reference": wording.interval_seconds(reference) if reference else "failed a hard gate",
        "times that": _over_reference(each),
        "versions": each.versions,
    }


def _over_reference(each: FrameworkCells) -> str:
    if each.over_reference is None:
        return "none"
    return "itself" if each.best == each.reference else wording.ratio_with_interval(each.over_reference)


def framework_ratio_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the fastest framework's ratio over each other, on each device and in each precision."""
    standings = summary.frameworks.standings if summary.frameworks else []
    return [_ratio(pair, _device(standing, standings)) for standing in standings for pair in standing.ratios]


def _ratio(pair: FrameworkRatio, device: str) -> dict[str, str]:
    return {
        "faster over slower": f"{name_of(pair.framework)} over {name_of(pair.other)}",
        "device": device,
        "precision": pair.precision or AT_BEST,
        "times as fast": wording.ratio_with_interval(pair.speedup, beyond_one=True),
        "certain": _certain(pair),
        "what else differs": "; ".join(pair.differs) or "nothing",
        "faster cell": pair.fast,
        "slower cell": pair.slow,
    }


def _certain(pair: FrameworkRatio) -> str:
    if pair.speedup.low is None:
        return "no: a single run has no interval"
    return "yes" if pair.is_certain else "no: cannot be told apart"


def within_rows(summary: Summary) -> list[dict[str, str]]:
    """Return GPU against CPU within each framework, where one beside PyTorch has both."""
    return [
        {
            "framework": name_of(one.framework),
            "GPU as fast as CPU": wording.ratio_with_interval(one.speedup),
            "fastest GPU cell": one.gpu,
            "fastest CPU cell": one.cpu,
        }
        for one in (summary.frameworks.within if summary.frameworks else [])
    ]
