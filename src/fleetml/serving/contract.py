"""What server and client agree on besides the messages."""

from fleetml.serving.proto import ai_service_pb2 as messages

SERVICE = messages.DESCRIPTOR.services_by_name["AIService"].full_name
"""The name health checks ask for."""

MESSAGE_BYTES = 10 * 1024 * 1024
"""Longest message either side takes."""

PROBE = "fleetml-probe"
"""Request metadata of a deploy's own questions: they are answered like any other, but not logged as traffic."""
