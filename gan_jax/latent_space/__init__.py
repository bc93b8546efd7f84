"""The latent space of a run: images of chosen latents, projection of images, directions, and kept latents."""
