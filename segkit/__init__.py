"""Instance segmentation from LabelMe annotations to a trained, measured, exported model."""

__version__ = "0.1.0"
