"""Feature extractors: networks whose features the metrics compare."""
