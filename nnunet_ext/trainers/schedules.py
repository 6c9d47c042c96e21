"""Schedules that nnU-Net sets with an epoch's number, so that a training goes on where it was broken off."""

from __future__ import annotations

from torch.optim.lr_scheduler import LambdaLR


class EpochSchedule(LambdaLR):
    """Learning rates that are a share of each group's own: a function of the epoch, counted from 0.

    Torch's own takes an epoch's number too, but warns of it at every call.
    """

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of an epoch, as nnU-Net asks at each epoch's start; None for the next."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, lr, share in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = lr * share(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
