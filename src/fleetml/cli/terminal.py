"""What the commands of the stack print: plain lines in a pipe, colour on a terminal (never with NO_COLOR)."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fleetml.report import page, summary
from fleetml.report.verdict import read
from fleetml.serving import deployment
from fleetml.stack import airflow
from fleetml.stack.runs import AirflowRun
from fleetml.stack.state import Stack
from fleetml.step import Failure


class Terminal:
    """Lines for a person. Callable from several threads; each line is printed whole."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def say(self, line: str = "", style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)

    def news(self, name: str, event: str) -> None:
        """Tell what became of a server."""
        self.say(f"{name:<8} {event}", "yellow" if "died" in event or "taken" in event else "")

    def stack(self, stack: Stack, fresh: bool) -> None:
        """Tell where everything answers and how to get in."""
        self.say("stack: up" if fresh else "stack: running already, reused", "bold")
        for name, service in stack.services.items():
            self.say(f"  {name:<8} {service.address}{login(stack) if name == 'airflow' else ''}")
            if name == "serving":
                self.say(f"  {'':<8} {http(stack)}   REST, /metrics")

    def finished(self, run: AirflowRun, stack: Stack, labels: Mapping[str, str]) -> int:
        """Tell how a run ended; return the exit status."""
        attempts = run.records.here() if run.records.exists() else {}
        failed = run.state() != "succeeded"
        self.say()
        self.say(f"run {'failed' if failed else 'succeeded'}", "bold red" if failed else "bold green")
        report = page.write(run.records, links(run, stack)) if run.records.exists() else None
        if failed:
            self.failures(run)
        elif attempts:
            for caption, line in summary.lines(run.records.read(), attempts, labels):
                self.say(f"  {caption:<15} {line}")
        self._places(run, stack, report)
        return int(failed)

    def failures(self, run: AirflowRun) -> None:
        """Tell why each failed step failed, in ten lines or fewer."""
        told = False
        for attempt in run.records.latest().values() if run.records.exists() else ():
            if attempt.state == "failed" and attempt.failure:
                told = True
                for line in Failure(**attempt.failure).report():
                    self.say(line)
        if not told:
            self.say(f"no step of ours failed; what Airflow itself says stands in the task's log: {run.link}")

    def _places(self, run: AirflowRun, stack: Stack, report: Path | None) -> None:
        for name, address in links(run, stack):
            self.say(f"  {name:<15} {address}{login(stack) if name == 'Airflow run' else ''}")
        if report:
            self.say(f"  {'report':<15} {report.as_uri()}")
        self.say(f"  {'gRPC server':<15} {stack.services['serving'].address}")
        self.say(f"  {'HTTP server':<15} {http(stack)}")
        self.say("  the stack stays up; stop it with: make down")


def login(stack: Stack) -> str:
    """Return how to get into Airflow."""
    service = stack.services["airflow"]
    return f"   login {service.details['login']} / {airflow.password(service)}"


def http(stack: Stack) -> str:
    """Return where the model server answers REST and /metrics, as it tells itself."""
    said = deployment.status(Path(stack.services["serving"].details["folder"]))
    return f"http://{said['http']}" if said.get("http") else "no HTTP address told; see server.json"


def links(run: AirflowRun, stack: Stack) -> page.Links:
    """Return where a person reads on: the run in Airflow, the model in MLflow."""
    mlflow = stack.services["mlflow"].address
    verdict = read(run.records.here()) if run.records.exists() else None
    model = f"{mlflow}/#/models/{verdict.target}/versions/{verdict.version}" if verdict and verdict.version else mlflow
    return (("Airflow run", run.link), ("MLflow", model))
