"""The steps of the pipeline of events: from an observation to the standard products of a burst."""
