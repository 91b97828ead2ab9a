"""What a run tells a person: the lines of the terminal, the summary at the end, the HTML report."""
