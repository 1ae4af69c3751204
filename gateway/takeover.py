"""Hands an established association's socket from pynetdicom to `gateway.pdata`.

pynetdicom reads a socket in a thread of its own that sleeps a millisecond between looks, and hands what it read through
queues to a second one that does the same. Both are right for negotiation and too slow for data. So when the
A-ASSOCIATE-AC is on the wire, that first thread ends, having read nothing more (`receiving.FencedSocket.ready`), and
the association's own thread goes on alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from pynetdicom.association import Association

from gateway.pdata import Conversation, End

log = structlog.get_logger(__name__)

ESTABLISHED = "Sta6"
"""State of pynetdicom's machine once the A-ASSOCIATE-AC is sent (PS3.8 9.2.1)."""

_LOOK_EVERY = 0.0005  # s; for the millisecond or two until then


def take_over(
    assoc: Association, make: Callable[[Association], Conversation], finish: Callable[[Association], None]
) -> None:
    """Serve an association that was accepted, in its thread, until it ended and its socket is closed.

    Parameters
    ----------
    make
        Makes the conversation; called when nobody else reads the socket any more.
    finish
        Called once when all is over, however it ended.
    """
    dul = assoc.dul
    until = time.monotonic() + (assoc.acse_timeout or 30.0)
    while dul.is_alive() and dul.state_machine.current_state != ESTABLISHED and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
    dul.kill_dul()
    dul.join()
    end = End.ABORTED
    try:
        if dul.state_machine.current_state == ESTABLISHED and dul.socket is not None and dul.socket.socket:
            conversation = make(assoc)
            assoc.abort = conversation.cut  # type: ignore[method-assign, assignment]  # its own would wait for the ended thread
            end = conversation.run()
    finally:
        assoc.is_released, assoc.is_aborted = end is End.RELEASED, end is End.ABORTED
        assoc.is_established = False
        assoc.kill()
        if dul.socket is not None:
            dul.socket.close()
        finish(assoc)
