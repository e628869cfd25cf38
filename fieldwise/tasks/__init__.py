"""How networks are trained: what one step does, what is logged, what a checkpoint holds."""

from fieldwise.tasks.adversarial import AdversarialTask
from fieldwise.tasks.checkpoints import load_checkpoint
from fieldwise.tasks.classes import ClassTask
from fieldwise.tasks.devices import choose_device
from fieldwise.tasks.field import FieldTask

__all__ = ["AdversarialTask", "ClassTask", "FieldTask", "choose_device", "load_checkpoint"]
