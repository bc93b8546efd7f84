"""Files that may come from elsewhere: opened without following a link, and read as JSON of the expected types."""
