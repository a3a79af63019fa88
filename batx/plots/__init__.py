"""Pictures of labelled objects: matplotlib functions that return Axes and change nothing global."""
