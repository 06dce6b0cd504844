"""What moves a latent at one noise level: region and point optimisers, their losses, masks and terms."""
