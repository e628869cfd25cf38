"""How networks are trained: what one step does, what is logged, what a checkpoint holds."""

from fieldwise.tasks.adversarial import AdversarialTask
from fieldwise.tasks.checkpoints import load_checkpoint
from fieldwise.tasks.devices import choose_device
from fieldwise.tasks.field import FieldTask

__all__ = ["AdversarialTask", "FieldTask", "choose_device", "load_checkpoint"]
