"""Every choice of a federated run, and which of them exclude each other: refused before the first round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from fleetml.errors import InvalidParameter, nearest

STRATEGIES = ("fedavg", "fedprox", "fedadam", "fedyogi", "trimmed_mean", "krum")
ROBUST = ("trimmed_mean", "krum")
SELECTIONS = ("random", "size", "speed", "staleness")
WEIGHTS = ("examples", "equal")
PRIVACY = ("", "central", "local")
BITS = (32, 16, 8)


@dataclass(frozen=True)
class Federation:
    """How a model is trained over regions, whether they are simulated or real.

    Rounds: at most `rounds` of `local_epochs` passes; `patience` rounds whose error is not better than the best by
    `min_improvement` (a share of it) end them, 0: never. A region has `round_seconds` to answer.
    Clients: `fraction` of those present, by `selection`, but at least `min_clients`, of which as many must answer.
    Aggregation: `strategy`; answers weigh by `weights`. `proximal_mu` is FedProx', `server_learning_rate` FedAdam's and FedYogi's (0: its own),
    `trim` the share cut off on either side by the trimmed mean, `malicious` how many liars Krum bears.
    Privacy: noise for (`epsilon`, `delta`) on updates clipped to the norm `clip`, by the server (central) or by each region (local).
    `secure`: the server sees sums alone. `update_bits` of an update's values, of which the largest `update_share` are sent; 32 and 1: the
    weights as they are.
    At the end each region fits the model to itself for `personal_epochs`, 0: not; and with `compare_own` trains one alone.
    Raises InvalidParameter.
    """

    rounds: int = 10
    local_epochs: int = 1
    round_seconds: float = 600.0
    patience: int = 0
    min_improvement: float = 0.001
    selection: str = "random"
    fraction: float = 1.0
    min_clients: int = 2
    strategy: str = "fedavg"
    weights: str = "examples"
    proximal_mu: float = 0.0
    server_learning_rate: float = 0.0
    trim: float = 0.2
    malicious: int = 0
    privacy: str = ""
    epsilon: float = 0.0
    delta: float = 1e-5
    clip: float = 1.0
    secure: bool = False
    update_bits: int = 32
    update_share: float = 1.0
    personal_epochs: int = 1
    compare_own: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_words(self)
        _check_numbers(self)
        for each in EXCLUSIONS:
            if each.both(self):
                raise InvalidParameter(
                    f"{each.one} and {each.other} of a federated run exclude each other: {each.why}; {each.remedy}"
                )


@dataclass(frozen=True)
class Exclusion:
    """Two choices that cannot go together, why, and what to do; a row of the table in docs/federated.md."""

    one: str
    other: str
    why: str
    remedy: str
    both: Callable[[Federation], bool]


EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "strategy trimmed_mean or krum",
        "secure",
        "they compare the answers one by one, and the server sees none of them",
        "use fedavg, fedprox, fedadam or fedyogi",
        lambda it: it.strategy in ROBUST and it.secure,
    ),
    Exclusion(
        "strategy trimmed_mean or krum",
        "privacy central",
        "the noise is calibrated to a mean",
        "use another strategy, or privacy local",
        lambda it: it.strategy in ROBUST and it.privacy == "central",
    ),
    Exclusion(
        "privacy",
        "weights examples",
        "a region's share of the mean, and so what it reveals, would have no bound",
        "give weights equal",
        lambda it: bool(it.privacy) and it.weights == "examples",
    ),
    Exclusion(
        "privacy",
        "selection other than staleness with a fraction below 1",
        "a region spends in the rounds in which it takes part, and those must not depend on its data nor on luck",
        "give selection staleness, which asks them by turns, or fraction 1",
        lambda it: bool(it.privacy) and it.fraction < 1 and it.selection != "staleness",
    ),
    Exclusion(
        "privacy",
        "patience",
        "when a run stops would be told by errors that have no noise",
        "give patience 0",
        lambda it: bool(it.privacy) and it.patience > 0,
    ),
    Exclusion(
        "privacy local",
        "update_share below 1",
        "the largest values of an update that is mostly noise are noise",
        "give update_share 1",
        lambda it: it.privacy == "local" and it.update_share < 1,
    ),
    Exclusion(
        "secure",
        "privacy local",
        "each hides a region's update from the server; the noise that a sum needs is less than local noise makes",
        "give privacy central with secure, or privacy local alone",
        lambda it: it.secure and it.privacy == "local",
    ),
    Exclusion(
        "secure",
        "min_clients below 3",
        "of a sum of two each region knows the other's part",
        "raise min_clients",
        lambda it: it.secure and it.min_clients < 3,
    ),
    Exclusion(
        "secure",
        "update_bits below 32 or update_share below 1",
        "masked values are all there, each of the size the protocol gives it",
        "give update_bits 32 and update_share 1",
        lambda it: it.secure and (it.update_bits < 32 or it.update_share < 1),
    ),
    Exclusion(
        "strategy krum",
        "malicious of which min_clients are fewer than twice as many and three",
        "it finds the honest among that many (Blanchard et al. 2017)",
        "raise min_clients, or lower malicious",
        lambda it: it.strategy == "krum" and it.min_clients < 2 * it.malicious + 3,
    ),
    Exclusion(
        "strategy trimmed_mean",
        "trim of which min_clients are less than one",
        "nothing would be cut off, and a liar counts in full",
        "raise min_clients, or trim",
        lambda it: it.strategy == "trimmed_mean" and int(it.trim * it.min_clients) < 1,
    ),
    Exclusion(
        "strategy fedprox",
        "proximal_mu 0",
        "it would be fedavg",
        "give a positive proximal_mu, or strategy fedavg",
        lambda it: it.strategy == "fedprox" and it.proximal_mu == 0,
    ),
    Exclusion(
        "privacy",
        "epsilon 0",
        "no noise is enough",
        "give the epsilon that may be spent",
        lambda it: bool(it.privacy) and it.epsilon == 0,
    ),
    Exclusion(
        "epsilon",
        "no privacy",
        "no noise would be made, and the run would seem private",
        "give privacy central or local, or epsilon 0",
        lambda it: not it.privacy and it.epsilon > 0,
    ),
    Exclusion(
        "secure",
        "selection speed with a fraction below 1",
        "the server does not learn how long a region took",
        "give selection random, size or staleness",
        lambda it: it.secure and it.selection == "speed" and it.fraction < 1,
    ),
)


def _check_words(given: Federation) -> None:
    known = {"strategy": STRATEGIES, "selection": SELECTIONS, "weights": WEIGHTS, "privacy": PRIVACY}
    for name, words in known.items():
        if (value := getattr(given, name)) not in words:
            meant = nearest(str(value), words) or "; give one of those"
            raise InvalidParameter(f"{name} must be {', '.join(filter(None, words))}, got {value!r}{meant}")
    if given.update_bits not in BITS:
        raise InvalidParameter(f"update_bits must be 32, 16 or 8, got {given.update_bits}; give one of those")


def _check_numbers(given: Federation) -> None:
    positive = ("rounds", "local_epochs", "min_clients")
    above_zero = ("round_seconds", "fraction", "delta", "clip", "update_share")
    for each in fields(given):
        value = getattr(given, each.name)
        if isinstance(value, str | bool):
            continue
        if each.name in positive and value < 1:
            raise InvalidParameter(f"{each.name} must be at least 1, got {value}; give a positive number")
        if not value >= 0 or (each.name in above_zero and not value > 0):
            raise InvalidParameter(
                f"{each.name} must be {'positive' if each.name in above_zero else 'positive or 0'}, got {value}; give a greater number"
            )
    for name, bound in (("fraction", 1.0), ("update_share", 1.0), ("delta", 1.0), ("min_improvement", 1.0)):
        if getattr(given, name) > bound:
            raise InvalidParameter(
                f"{name} must be at most {bound:g}, got {getattr(given, name)}; give a smaller number"
            )
    if not given.trim < 0.5:
        raise InvalidParameter(f"trim must be below 0.5, got {given.trim}; give a smaller share")
