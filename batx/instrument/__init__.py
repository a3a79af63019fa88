"""The telescope as plain numpy: detector plane, coded mask, directions."""
