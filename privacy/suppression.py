"""Suppression: what is too small is not said."""


def suppress(noisy: int, threshold: int) -> int | None:
    """The value as it may be published: None below the threshold. Only ever asked of noisy values.

    >>> suppress(49, threshold=50) is None
    True
    >>> suppress(50, threshold=50)
    50
    """
    return noisy if noisy >= threshold else None
