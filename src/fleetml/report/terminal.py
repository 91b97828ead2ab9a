"""What the commands of the stack print: plain lines in a pipe, colour on a terminal (never with NO_COLOR)."""

from rich.console import Console

from fleetml.stack.state import Stack


class Terminal:
    """Lines for a person. Callable from several threads; each line is printed whole."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    def say(self, line: str = "", style: str = "") -> None:
        self.console.print(line, style=style or None, markup=False)

    def news(self, name: str, event: str) -> None:
        """Tell what became of a server."""
        self.say(f"{name:<8} {event}", "red" if "died" in event else "")

    def stack(self, stack: Stack, fresh: bool) -> None:
        """Tell where everything answers and how to get in."""
        self.say("stack: up" if fresh else "stack: was running, reused", "bold")
        for name, service in stack.services.items():
            login = service.details.get("login", "")
            self.say(f"  {name:<8} {service.address}{f'  ({login})' if login else ''}")
