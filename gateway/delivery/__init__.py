"""Delivery: a signed opinion, under the patient's real identity, into the hospital's own systems.

One file per channel, each registered by `channel` under the name that stands in `SiteReturn.channel`. Importing this
package registers all of them.
"""

from gateway.delivery import dicom, fhir, mllp, portal
from gateway.delivery.deliverer import Deliverer
from gateway.delivery.registry import CHANNELS, Delivery, Rejected, Unreachable, channel

__all__ = [
    "CHANNELS",
    "Deliverer",
    "Delivery",
    "Rejected",
    "Unreachable",
    "channel",
    "dicom",
    "fhir",
    "mllp",
    "portal",
]
