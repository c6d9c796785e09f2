"""How samples become numbers."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """How samples become numbers: which cells are compared, the intervals' confidence, what is noise, prices, words."""

    baseline: str = "cpu-reference"  # the cell that every speedup is over
    best: str = ""  # the cell that leads; empty for the fastest that was timed here
    confidence: float = 0.95  # of every interval
    noise_threshold: float = 0.02  # relative change that counts as noise
    currency: str = "EUR"  # the word behind every price
    per_hour: dict[str, float] = field(default_factory=dict)  # price of an hour, by the hardware's name
    labels: dict[str, str] = field(default_factory=dict)  # what the sheet calls its cells, by their names
    # By device and cell, the frameworks that the sheet names beside torch.
    frameworks: dict[str, dict[str, str]] = field(default_factory=dict)
