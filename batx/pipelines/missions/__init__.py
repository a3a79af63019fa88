"""Steps of the pipelines of X-ray telescopes: what they share, and what is their own."""
