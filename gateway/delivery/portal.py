"""The portal: the referring doctor reads the opinion on the site's own pages, so there is nothing to send.

Delivered means readable: the opinion is intact, its patient is found, and its document can be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.delivery.registry import Delivery, channel


@channel("portal")
def show(delivery: Delivery) -> Mapping[str, Any]:
    """Make the document once, to know that it can be made."""
    return {"pdf": len(delivery.pdf())}
