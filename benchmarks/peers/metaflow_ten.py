"""Metaflow wants a start and an end, and no join at the end: a chain of four, a fan-out of four, a join, the end."""

from metaflow import FlowSpec, Parameter, step


class Ten(FlowSpec):
    seed = Parameter("seed")

    @step
    def start(self):
        self.text = self.seed
        self.next(self.two)

    @step
    def two(self):
        self.next(self.three)

    @step
    def three(self):
        self.next(self.four)

    @step
    def four(self):
        self.next(self.a, self.b, self.c, self.d)

    @step
    def a(self):
        self.next(self.join)

    @step
    def b(self):
        self.next(self.join)

    @step
    def c(self):
        self.next(self.join)

    @step
    def d(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.text = "".join(each.text for each in inputs)
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Ten()
