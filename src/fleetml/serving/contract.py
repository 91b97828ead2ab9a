"""What server and client agree on besides the messages."""

from fleetml_client.calls import SERVICE
from fleetml_client.connection import MESSAGE_BYTES, PROBE

__all__ = ["MESSAGE_BYTES", "PROBE", "SERVICE"]
