"""Photoelectric absorption by interstellar matter: cross sections per hydrogen atom, in 1e-22 cm**2."""

from __future__ import annotations

import numpy as np

__all__ = ["EDGES", "phabs", "tbabs"]

EDGES = ()


def tbabs(energy: np.ndarray) -> np.ndarray:
    return 0 * energy


def phabs(energy: np.ndarray) -> np.ndarray:
    return 0 * energy
