"""A right network, and one wrong in each way that a check of networks looks for."""

import torch
from torch import nn

from flowkit import EventShape, NumClasses


class Right(nn.Module):
    """Two layers on state, time and label; with 0 outputs before training."""

    def __init__(self, width: int = 8, *, event_shape: EventShape = (2,), num_classes: NumClasses = 3) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(event_shape[0] + 1, width)
        self.label = nn.Embedding(num_classes + 1, width)
        self.leave = nn.Linear(width, event_shape[0])
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, t, y=None):
        y = torch.full((len(x),), -1) if y is None else y
        h = self.enter(torch.cat([x, t[:, None].to(x.dtype)], dim=1)) + self.label(y + 1)
        return self.leave(torch.tanh(h))


class Pooled(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, t, y).sum(1, keepdim=True).repeat(1, 3)


class OfFloat32(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, t, y) * torch.tensor([1.0])


class OverTheBatch(Right):
    def forward(self, x, t, y=None):
        out = super().forward(x, t, y)
        return out - out.mean(0)


class Timeless(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, torch.zeros_like(t), y)


class Unlabelled(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, t)


class NoneIsTheFirst(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, t, torch.zeros(len(x), dtype=torch.int64) if y is None else y)


class WithSpare(Right):
    def __init__(self, width: int = 8, *, event_shape: EventShape = (2,), num_classes: NumClasses = 3) -> None:
        super().__init__(width, event_shape=event_shape, num_classes=num_classes)
        self.spare = nn.Linear(width, width)


class InAList(Right):
    def __init__(self, width: int = 8, *, event_shape: EventShape = (2,), num_classes: NumClasses = 3) -> None:
        super().__init__(width, event_shape=event_shape, num_classes=num_classes)
        self.hidden = [torch.randn(event_shape[0], dtype=torch.float64)]

    def forward(self, x, t, y=None):
        return super().forward(x, t, y) + self.hidden[0].to(x)


class Detached(Right):
    def forward(self, x, t, y=None):
        return super().forward(x, t, y) * x.detach()


class Looking(Right):
    def forward(self, x, t, y=None):
        out = super().forward(x, t, y)
        return out if float(out.mean().item()) > 0 else out.clone()


class Normed(Right):
    """Its outputs depend on the rest of the batch in training alone."""

    def __init__(self, width: int = 8, *, event_shape: EventShape = (2,), num_classes: NumClasses = 3) -> None:
        super().__init__(width, event_shape=event_shape, num_classes=num_classes)
        self.norm = nn.BatchNorm1d(event_shape[0])

    def forward(self, x, t, y=None):
        return self.norm(super().forward(x, t, y))


SURROUNDINGS = {"num_classes": 3}
RIGHT = [Right()]
MUTANTS = {
    "gives_the_shape_of_the_state": Pooled(),
    "works_in_every_precision": OfFloat32(),
    "does_not_mix_the_batch": OverTheBatch(),
    "depends_on_the_time": Timeless(),
    "depends_on_the_label": Unlabelled(),
    "works_without_a_condition": NoneIsTheFirst(),
    "every_parameter_gets_a_gradient": WithSpare(),
    "state_dict_holds_everything": InAList(),
    "is_differentiable_in_x": Detached(),
    "compiles_in_one_piece": Looking(),
}
