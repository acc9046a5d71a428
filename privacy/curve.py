"""The privacy curve of Gaussian noise in closed form: epsilon from rho and delta, without a library.

`privacy.accountant` is who publishes; this is for where the accountant's library is not, such as the centre's service. A
test holds the two together.
"""

import math

_HALVINGS = 60


def gaussian_epsilon(rho: float, delta: float) -> float:
    """The least epsilon for which Gaussian noise that costs rho is (epsilon, delta) private (Balle and Wang, 2018).

    With mu = sqrt(2 rho): delta = P(N > e/mu - mu/2) - exp(e) P(N > e/mu + mu/2) for a standard normal N, solved for e by
    halving.

    >>> round(gaussian_epsilon(0.0280, 1e-6), 3)
    1.0
    """
    if rho <= 0 or not 0 < delta < 1:
        raise ValueError("rho is above 0 and delta between 0 and 1")
    mu = math.sqrt(2 * rho)
    low, high = 0.0, 1.0
    while _delta_at(high, mu) > delta:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _delta_at(middle, mu) > delta:
            low = middle
        else:
            high = middle
    return high


def upwards(epsilon: float) -> float:
    """An epsilon as it is published: two digits, never less than it is.

    >>> upwards(6.5823), upwards(1.0)
    (6.59, 1.0)
    """
    return math.ceil(round(epsilon * 100, 6)) / 100


def _delta_at(epsilon: float, mu: float) -> float:
    above, beyond = _tail(epsilon / mu - mu / 2), _tail(epsilon / mu + mu / 2)
    return above - (math.exp(epsilon + math.log(beyond)) if beyond > 0 else 0.0)


def _tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2
