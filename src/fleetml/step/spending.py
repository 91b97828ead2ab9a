"""What an attempt costs, and what the budget of its pipeline says to that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetml.cost.estimate import Cost, Tariff, estimate
from fleetml.errors import OverBudget
from fleetml.frozen import mutable
from fleetml.records import Run
from fleetml.records.spent import spent
from fleetml.runners import Usage
from fleetml.step.outcome import RunContext

if TYPE_CHECKING:
    from fleetml.cost.tariffs import Tariffs


@mutable
class Spending:
    """The spending of an attempt that began at `started` [s since the epoch]; `say` puts a line into its log."""

    context: RunContext
    records: Run
    started: float
    say: Callable[[str], None]
    tariffs: Tariffs | None = None

    def ask(self) -> None:
        """Ask who has to be asked for price and carbon intensity; the answers come while the step runs."""
        from fleetml.cost.tariffs import Tariffs

        def token(name: str) -> str:
            return self.context.secrets(name, ["token"]).get("token", "")

        try:
            tariffs = Tariffs(self.context.settings.cost, self.context.settings.home, token, self.say)
            tariffs.ask()
        except Exception as error:  # a run does not fail for want of a price
            self.say(f"neither price nor carbon intensity is known: {error}")
        else:
            self.tariffs = tariffs

    def cost(self, usage: Usage) -> Cost:
        """Return what this use costs until now; what was reused costs nothing."""
        settings = self.context.settings.cost
        if usage == Usage():
            return Cost()
        tariff = Tariff(settings.region, settings.currency, None, None, "", "")
        if self.tariffs is not None:
            tariff = self.tariffs.over(self.started, max(self.started, time.time()))
        return estimate(usage, settings.rates, tariff)

    def require_budget(self) -> None:
        """Raise OverBudget where the run, or its pipeline's month, may cost no more. What is reused costs nothing."""
        if self.context.budget is None:
            return
        if over := self.context.budget.exceeded(*spent(self.records, self.context.budget), only_stops=True):
            raise OverBudget(
                f"a step is run within its pipeline's budget, {' and '.join(over)}; raise the budget in its triggers.yaml, or "
                f"go on without: {self.context.resume} --no-budget"
            )

    def warn(self) -> None:
        """Say that the budget is used up."""
        if self.context.budget is None:
            return
        for over in self.context.budget.exceeded(*spent(self.records, self.context.budget)):
            self.say(f"over budget: {over}")
