"""Learn maps between gridded fields: tiles, networks, whole-domain prediction and honest judgement."""

__version__ = "0.1.0"
