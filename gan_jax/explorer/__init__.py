"""The explorer: a page in the browser on which a person moves through the latent space of a run."""
