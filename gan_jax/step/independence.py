"""Stands in until the analysis is merged."""


def mixing_primitive(traced, axes):
    return "not analysed"
