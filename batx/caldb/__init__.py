"""Files of the calibration database: which one serves what purpose, and where it is."""
