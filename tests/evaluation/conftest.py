"""What the tests of the judge share."""

from __future__ import annotations

from judges import server  # noqa: F401
