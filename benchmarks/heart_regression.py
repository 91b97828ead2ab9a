"""A logistic regression as a learner of the federated rounds, trained as FLamby's is: Adam, batches of 4."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from components.federated.learner import Arrays, Task

LEARNING_RATE, BATCH = 1e-3, 4
Values = npt.NDArray[np.float32]


class HeartRegression:
    """Rows and labels of one hospital, those to train on and those to test on; its error is 1 - accuracy."""

    def __init__(self, rows: Values, labels: Values, test_rows: Values, test_labels: Values) -> None:
        self._rows, self._labels = torch.from_numpy(rows), torch.from_numpy(labels)
        self._test_rows, self._test_labels = test_rows, test_labels

    @property
    def examples(self) -> int:
        return len(self._labels)

    def judge(self, arrays: Arrays) -> float:
        said = (self._test_rows @ arrays["weight"].T + arrays["bias"])[:, 0] > 0
        return float((said != self._test_labels.astype(bool)).mean())

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        order = torch.Generator().manual_seed(task.seed)
        received = {name: torch.tensor(values) for name, values in arrays.items()}
        held = {name: each.clone().requires_grad_() for name, each in received.items()}
        optimizer = torch.optim.Adam(held.values(), lr=LEARNING_RATE)
        total = 0.0
        for _ in range(task.epochs):
            for some in torch.randperm(self.examples, generator=order).split(BATCH):
                logits = (self._rows[some] @ held["weight"].T + held["bias"])[:, 0]
                loss = binary_cross_entropy_with_logits(logits, self._labels[some])
                total += float(loss.detach()) * len(some)
                if task.proximal_mu:
                    apart = sum(((each - received[name]) ** 2).sum() for name, each in held.items())
                    loss = loss + task.proximal_mu / 2 * apart
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return {name: each.detach().numpy() for name, each in held.items()}, total / (task.epochs * self.examples)
