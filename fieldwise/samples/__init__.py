"""Prepared folders, scales, and samples as batches of tensors."""
