"""Ways to step down a gradient of one tensor: Adam (Kingma and Ba 2015), or along it by a fixed length.

torch's own Adam, on first use, loads a compiler that takes longer than a small drag.
"""

from __future__ import annotations

from torch import Tensor


class Adam:
    """State of one tensor's optimisation; its moments start at zero.

        adam = Adam(rate=0.02)
        z = z - adam.step(gradient)
    """

    def __init__(self, rate: float, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.rate, self.betas, self.epsilon = rate, betas, epsilon
        self.count = 0
        self._mean: Tensor | float = 0.0
        self._square: Tensor | float = 0.0

    def step(self, slope: Tensor) -> Tensor:
        """What to subtract for this gradient: on the first call `rate` times its signs."""
        first, second = self.betas
        self.count += 1
        self._mean = first * self._mean + (1 - first) * slope
        self._square = second * self._square + (1 - second) * slope.square()
        size = (self._square / (1 - second**self.count)).sqrt() + self.epsilon
        return self.rate / (1 - first**self.count) * self._mean / size


class AlongGradient:
    """Every step goes `length` along the gradient, both measured as the root of the sum of squares."""

    def __init__(self, length: Tensor | float) -> None:
        self.length = length

    def step(self, slope: Tensor) -> Tensor:
        """What to subtract for this gradient; nothing where it is zero all over."""
        return self.length / slope.norm().clamp_min(1e-12) * slope
