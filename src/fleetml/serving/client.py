"""The client package as FleetML itself uses it: its errors are FleetML's own."""

from typing import TypeVar

import fleetml_client
from fleetml.serving import errors
from fleetml_client import Node
from fleetml_client.calls import Call

__all__ = ["Client", "Node"]
_T = TypeVar("_T")


class Client(fleetml_client.Client):
    """As `fleetml_client.Client`, but its methods raise what the server meant: InvalidParameter, Unavailable (also when
    nobody answers), NotImplementedYet.
    """

    def _ask(self, call: Call[_T]) -> _T:
        try:
            return super()._ask(call)
        except fleetml_client.Error as error:
            raise errors.error(error.code, str(error)) from error
