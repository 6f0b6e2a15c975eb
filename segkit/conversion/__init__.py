"""A folder of annotations in any format to a dataset: read, lay out, write, report."""
