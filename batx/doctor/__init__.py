"""What is installed, what is found, and what that means: the checks behind ``batx doctor``."""

from __future__ import annotations

from batx.doctor.finding import Finding
from batx.doctor.looking import findings

__all__ = ["Finding", "findings"]
