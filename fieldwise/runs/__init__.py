"""A run on record: its trainer with loggers and checkpoints, its settings, its provenance, its experiment."""

from fieldwise.runs.comet import fetch_run
from fieldwise.runs.folder import find_checkpoint, open_run, read_metrics
from fieldwise.runs.provenance import hash_file, recall_measure, record_provenance, write_json
from fieldwise.runs.trainers import Tracker, close_trackers, fit, keep_beginning, make_trainer

__all__ = [
    "Tracker",
    "close_trackers",
    "fetch_run",
    "find_checkpoint",
    "fit",
    "hash_file",
    "keep_beginning",
    "make_trainer",
    "open_run",
    "read_metrics",
    "recall_measure",
    "record_provenance",
    "write_json",
]
