"""Takes a run elsewhere: exported files of its networks, networks from elsewhere, and model cards."""
