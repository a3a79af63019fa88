"""What the commands of the command line are made of, and those that are more than one call."""
