"""Devices and processes: where a run takes place."""
