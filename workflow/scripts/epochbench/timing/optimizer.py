"""The optimisers, by torch's own functional updates: making their classes imports torch's compiler, two seconds a run.

GradScaler sets the attributes `grad_scale` and `found_inf` before a step and deletes them after it.
"""

import torch
from torch import nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from epochbench.timing.protocol import ADAM_EPSILON, ADAM_SECOND_BETA, Protocol


class Optimizer:
    """Updates parameters by their gradients. `moments` are what it keeps of them, `counters` its counts of steps.

    Fused, an update is one kernel for all parameters; otherwise torch takes what it takes by default.
    """

    _step_supports_amp_scaling = True

    def __init__(self, parameters: dict[str, nn.Parameter], protocol: Protocol, rate: float, fused: bool):
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.param_groups = [{"params": self.parameters}]
        self.protocol, self.rate, self.fused = protocol, rate, fused
        self.moments: list[torch.Tensor] = self._zeros()
        self.counters: list[torch.Tensor] = []
        self.first = True

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters."""
        gradients = [parameter.grad for parameter in self.parameters]
        if self.first:
            self._require(gradients)
        self._update(
            gradients,
            fused=self.fused or None,  # None: whichever torch takes by default
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
            lr=self.rate,
            weight_decay=self.protocol.weight_decay,
            maximize=False,
        )

    def start_over(self) -> None:
        """Forget all gradients that there were."""
        for tensor in [*self.moments, *self.counters]:
            tensor.zero_()

    def _update(self, gradients: list[torch.Tensor], **settings) -> None:
        raise NotImplementedError

    def _zeros(self) -> list[torch.Tensor]:
        return [torch.zeros_like(parameter) for parameter in self.parameters]

    def _require(self, gradients: list) -> None:
        """Raise ValueError, at the first step, where no gradient reaches a parameter that is to be trained."""
        missed = [name for name, gradient in zip(self.names, gradients, strict=True) if gradient is None]
        if missed:
            raise ValueError(
                f"no gradient reaches {', '.join(missed)}: use it, leave it out, or freeze it by requires_grad_(False)"
            )
        self.first = False


class Momentum(Optimizer):
    """Stochastic gradient descent with momentum: v = momentum v + gradient; weight -= rate v."""

    def _update(self, gradients: list[torch.Tensor], **settings) -> None:
        momentum = self.protocol.momentum
        sgd(self.parameters, gradients, self.moments, momentum=momentum, dampening=0.0, nesterov=False, **settings)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): the rate times the mean of the gradients, over the root of the mean of their squares.

    Weight decay is a part of the gradients. The first beta is the protocol's momentum.
    """

    decoupled = False

    def __init__(self, parameters: dict[str, nn.Parameter], protocol: Protocol, rate: float, fused: bool):
        super().__init__(parameters, protocol, rate, fused)
        self.means, self.squares = self.moments, self._zeros()
        self.moments = [*self.means, *self.squares]
        # As torch.optim.Adam has them: on the host they would be copied to a device in every fused step.
        devices = [parameter.device if fused else torch.device("cpu") for parameter in self.parameters]
        self.counters = [torch.zeros((), device=device) for device in devices]

    def _update(self, gradients: list[torch.Tensor], **settings) -> None:
        adam(
            self.parameters,
            gradients,
            self.means,
            self.squares,
            [],
            self.counters,
            amsgrad=False,
            beta1=self.protocol.momentum,
            beta2=ADAM_SECOND_BETA,
            eps=ADAM_EPSILON,
            decoupled_weight_decay=self.decoupled,
            **settings,
        )


class AdamW(Adam):
    """Adam whose weight decay is a step of its own, beside the gradients' (Loshchilov and Hutter 2019)."""

    decoupled = True


OPTIMIZERS = {"sgd": Momentum, "adam": Adam, "adamw": AdamW}


def build_optimizer(parameters: dict[str, nn.Parameter], protocol: Protocol, rate: float, fused: bool) -> Optimizer:
    """Return the optimiser that the protocol names, for parameters by their names.

    `fused` tells that the cell needs one kernel for all of them, whatever the protocol asks for.
    """
    return OPTIMIZERS[protocol.optimizer](parameters, protocol, rate, fused or protocol.fused == "always")
