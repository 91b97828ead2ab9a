"""SecAgg+ in a region: keys, shares of secrets, the masked update, and what it says to take masks off a sum.

Bonawitz et al. 2017, Bell et al. 2020. Encryption and Shamir's shares are the libraries that Flower uses. Its expansion of masks is not used:
it folds a key into a seed of 32 bits (components.federated.stream). Nor are its keys, PEM of 306 bytes on P-384, which took most of a
round: a secret here has 16 bytes, one block of Shamir's scheme, and a pair of X25519 keys comes from one.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.secure_aggregation.crypto.symmetric_encryption import decrypt, encrypt
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat, share_keys_plaintext_separate
from numpy.typing import NDArray

from components.federated import stream
from components.federated.learner import Arrays
from components.federated.leaving import change_of
from components.federated.records import WEIGHT, arrays_of, metrics_of
from fleetml.errors import InvalidData
from fleetml.frozen import frozen

SECURE = "secure"
"""Name of the record that says the stage, in messages, and of the region's secrets, in its own context."""
MASKED = "masked"
"""Name of the record with the masked update."""
KEYS, SHARES, VECTOR, UNMASK = STAGES = ("keys", "shares", "vector", "unmask")
MEASURED = ("weight", "judged", "error", "loss")
"""What stands before the update in a vector, each x weight: 1, 1 where an error is known, the error and the loss over `FIGURE`."""
SECRET_BYTES = 16
_WORD = 2**32
FIGURE = 1024.0  # the largest error or loss

Words = NDArray[np.uint32]


@frozen
class Grain:
    """How numbers become words that can be summed modulo 2^32: steps of 2 x `span` / `levels` from -span on.

    parts: how many vectors are summed at most; levels are as many as their sum has room for.
    """

    span: float
    parts: int

    @property
    def step(self) -> float:
        return 2 * self.span / (_WORD // self.parts - 1)

    def words(self, values: NDArray[Any]) -> Words:
        """Return values as words, to half a step. Raises InvalidData beyond the span."""
        if not (np.abs(values) <= self.span).all():  # NaN too
            raise InvalidData(
                f"what is summed under masks lies within +-{self.span:g}, got {np.abs(values).max():g}; fewer local epochs or a "
                "smaller learning rate change weights less"
            )
        return np.rint((values.astype(np.float64) + self.span) / self.step).astype(np.uint32)

    def values(self, total: Words, count: int) -> NDArray[np.float64]:
        """Return the sum of `count` vectors."""
        return total.astype(np.float64) * self.step - count * self.span


def measured_grain(parts: int) -> Grain:
    """Return the grain of what stands before the update."""
    return Grain(1.0, parts)


def added(words: Words, key: bytes, sign: int) -> Words:
    """Return words with the mask of a key added or taken off."""
    mask = stream.words(key, words.size)
    return words + mask if sign > 0 else words - mask


def public_of(secret: bytes) -> bytes:
    """Return the public key [32 bytes] that belongs to a secret."""
    return _private(secret).public_key().public_bytes_raw()


def pair_key(secret: bytes, public: bytes, use: bytes) -> bytes:
    """Return the 32 bytes that two regions share for one use, by Diffie-Hellman on X25519. Raises ValueError for no public key."""
    shared = _private(secret).exchange(X25519PublicKey.from_public_bytes(public))
    return HKDF(hashes.SHA256(), 32, None, use).derive(shared)


def is_public(key: bytes) -> bool:
    """Return whether a pair can be made with a key: not with one of another length or of small order."""
    try:
        pair_key(os.urandom(SECRET_BYTES), key, b"")
    except ValueError:
        return False
    return True


def _private(secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(hashlib.sha256(b"x25519" + secret).digest())


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Return shares of a secret [16 bytes], of which `threshold` give it back."""
    return [
        number.to_bytes(4, "little") + share for number, share in Shamir.split(threshold, count, secret, ssss=False)
    ]


def combine(shares: Sequence[bytes]) -> bytes:
    """Return the secret of as many shares as are needed; another one where a share is not the one that was given. Raises ValueError."""
    return bytes(Shamir.combine([(int.from_bytes(it[:4], "little"), it[4:]) for it in shares], ssss=False))


def seed_key(seed: bytes) -> bytes:
    """Return the key of a region's own mask."""
    return hashlib.sha256(b"mask" + seed).digest()


def sign(node: int, other: int) -> int:
    """Return which of two regions adds their mask and which takes it off."""
    return 1 if node > other else -1


def commitment(seed: bytes) -> bytes:
    """Return what binds a region to its seed and does not tell it."""
    return hashlib.sha256(b"seed" + seed).digest()


def masking(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer a stage of the protocol; in `vector` the region trains, and nothing of what it answers but the masked sum leaves it."""
    if SECURE not in message.content.config_records:
        return call_next(message, context)
    asked: dict[str, Any] = dict(message.content.config_records[SECURE])
    stage = str(asked["stage"])
    kept: dict[str, Any] = dict(context.state.config_records.get(SECURE, ConfigRecord()))
    _expect(stage, kept, asked)
    node = int(asked["node"] if stage == KEYS else kept["node"])
    if stage == VECTOR:
        _receive(node, kept, asked)
        words = _vector(call_next(message, context), arrays_of(message), asked)
        record: Any = ArrayRecord({MASKED: Array(_masked(node, kept, words))})
        answer = RecordDict({MASKED: record})
    else:
        said = _ANSWERS[stage](node, kept, asked)
        answer = RecordDict({SECURE: ConfigRecord(said)})
    context.state.config_records[SECURE] = ConfigRecord({**kept, "stage": stage})
    return Message(answer, reply_to=message)


def _expect(stage: str, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """A round goes through its stages once: whoever could ask twice to unmask could ask for both secrets of a region.

    Nor is it made again in the same run: two sums of one round differ by a region that dropped out of one. A link that has lost a run, or a
    step that is run again, begins another.
    """
    before = STAGES[STAGES.index(stage) - 1] if stage in STAGES[1:] else None
    again = stage == KEYS and int(asked["round"]) <= int(kept.get("round", 0))
    if stage not in STAGES or again or (before and (kept.get("stage"), kept.get("round")) != (before, asked["round"])):
        raise InvalidData(
            f"a round of secure aggregation goes through {', '.join(STAGES)}, once; got {stage!r} of round {asked['round']} after "
            f"{kept.get('stage', 'nothing')!r} of round {kept.get('round', 0)}: this region takes no part in it"
        )


def _keys(node: int, kept: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the round's keys: one pair for masks, one to send shares. `node` is what the server calls this region in the round."""
    kept.clear()
    kept |= {"round": asked["round"], "node": node}
    for name in ("mask", "send"):
        kept[f"{name}-private"] = os.urandom(SECRET_BYTES)
        kept[f"{name}-public"] = public_of(kept[f"{name}-private"])
    return {"mask-public": kept["mask-public"], "send-public": kept["send-public"]}


def _shares(node: int, kept: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Share the seed of the own mask and the private key of the pairs' masks among the neighbours, encrypted for each."""
    nodes, threshold = list(asked["nodes"]), int(asked["threshold"])
    masks, sends = list(asked["mask-public"]), list(asked["send-public"])
    _agree(node, kept, nodes, masks, sends, threshold)
    kept |= {"nodes": nodes, "masks": masks, "threshold": threshold, "seed": os.urandom(SECRET_BYTES)}
    seeds = split(kept["seed"], threshold, len(nodes))
    privates = split(kept["mask-private"], threshold, len(nodes))
    kept |= {"held": [node], "held-seeds": [seeds[nodes.index(node)]], "held-privates": [privates[nodes.index(node)]]}
    others = [place for place, other in enumerate(nodes) if other != node]
    secrets = [base64.urlsafe_b64encode(pair_key(kept["send-private"], sends[place], b"send")) for place in others]
    sealed = [
        encrypt(secret, share_keys_plaintext_concat(node, nodes[place], seeds[place], privates[place]))
        for secret, place in zip(secrets, others, strict=True)
    ]
    kept |= {"secrets": secrets, "others": [nodes[place] for place in others]}
    return {"to": kept["others"], "sealed": sealed, "commitment": commitment(kept["seed"])}


def _agree(
    node: int, kept: Mapping[str, Any], nodes: list[int], masks: list[bytes], sends: list[bytes], threshold: int
) -> None:
    keys = [*masks, *sends]
    if len(set(nodes)) != len(nodes) or len(set(keys)) != 2 * len(nodes):
        raise InvalidData(
            "regions of a secure sum are named once and have keys of their own, got some twice; take no part"
        )
    own = nodes.index(node) if node in nodes else -1
    if own < 0 or (masks[own], sends[own]) != (kept["mask-public"], kept["send-public"]):
        raise InvalidData(
            "a region's own keys come back as it sent them, got others; take no part: the server may be lying"
        )
    if not (len(nodes) >= threshold and 2 * threshold > len(nodes) and threshold >= 2):
        raise InvalidData(
            f"more than half of {len(nodes)} regions must be needed to unmask, got {threshold}; take no part: fewer could unmask one"
        )


def _receive(node: int, kept: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """Open the shares that the neighbours sent; whoever sent one takes part in the sum."""
    sources, sealed = list(asked["from"]), list(asked["sealed"])
    if len(set(sources)) != len(sources) or len(sources) + 1 < kept["threshold"]:
        raise InvalidData(
            f"at least {kept['threshold']} regions take part in a secure sum, got {len(set(sources)) + 1}; take no part"
        )
    for source, text in zip(sources, sealed, strict=True):
        opened = decrypt(kept["secrets"][kept["others"].index(source)], text)
        of, to, seed, private = share_keys_plaintext_separate(opened)
        if (of, to) != (source, node):
            raise InvalidData(f"a share from region node {source} to {node} says it is from {of} to {to}; take no part")
        kept["held"] = [*kept["held"], source]
        kept["held-seeds"], kept["held-privates"] = [*kept["held-seeds"], seed], [*kept["held-privates"], private]
    for name in ("secrets", "send-private"):
        del kept[name]


def _vector(answer: Message, sent: Arrays, asked: Mapping[str, Any]) -> Words:
    """Return weight x (1, judged, error, loss, what changed) as words; the weight is a share of the largest one."""
    if answer.has_error():
        raise InvalidData(answer.error.reason)
    measured, changed = metrics_of(answer), change_of(answer, sent)
    weight = measured[WEIGHT] / float(asked["largest"])
    if not 0 < weight <= 1:
        raise InvalidData(f"a region weighs no more than {asked['largest']:g}, got {measured[WEIGHT]:g}; take no part")
    error = measured.get("error", float("nan"))
    judged = float(np.isfinite(error))
    first = weight * np.array([1.0, judged, error / FIGURE if judged else 0.0, measured.get("loss", 0.0) / FIGURE])
    change = np.concatenate([changed[name].reshape(-1) for name in sent])
    parts = int(asked["parts"])
    return np.concatenate(
        [measured_grain(parts).words(first), Grain(float(asked["span"]), parts).words(weight * change)]
    )


def _masked(node: int, kept: dict[str, Any], words: Words) -> Words:
    """Return words under the own mask and one for each region that takes part; what made them is forgotten."""
    masked = added(words, seed_key(kept["seed"]), 1)
    for other in kept["held"][1:]:
        public = kept["masks"][kept["nodes"].index(other)]
        masked = added(masked, pair_key(kept["mask-private"], public, b"mask"), sign(node, other))
    for name in ("seed", "mask-private"):
        del kept[name]
    return masked


def _unmask(node: int, kept: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give shares of the seeds of those in the sum, of the private keys of those who dropped out; of no region both."""
    summed, dropped = list(asked.get("summed", [])), list(asked.get("dropped", []))
    if (
        set(summed) & set(dropped)
        or not {*summed, *dropped} <= set(kept["held"])
        or len(set(summed)) < kept["threshold"]
    ):
        raise InvalidData(
            f"regions are in the sum, at least {kept['threshold']}, or dropped out, never both; got {len(summed)} and {len(dropped)} with "
            f"{len(set(summed) & set(dropped))} in both: nothing is unmasked"
        )
    seeds = dict(zip(kept["held"], kept["held-seeds"], strict=True))
    privates = dict(zip(kept["held"], kept["held-privates"], strict=True))
    for name in ("held", "held-seeds", "held-privates"):
        del kept[name]
    return {
        "of": [*summed, *dropped],
        "shares": [*(seeds[each] for each in summed), *(privates[each] for each in dropped)],
    }


_ANSWERS: Mapping[str, Callable[[int, dict[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    KEYS: _keys,
    SHARES: _shares,
    UNMASK: _unmask,
}
