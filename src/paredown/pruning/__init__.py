"""Pruning: networks that keep a part of their weights, made smaller for real, and handed on as files."""
