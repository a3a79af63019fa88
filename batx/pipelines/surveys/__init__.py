"""The steps of the survey pipeline."""
