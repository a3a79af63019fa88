"""Conversion to and from the objects of other libraries."""
