"""Records of a dataset, and pictures, masks and polygons without any format."""
