"""The same games in other frameworks and styles: same networks, losses, optimizer, batch and first weights."""
