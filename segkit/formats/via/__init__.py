"""VGG Image Annotator's JSON, of versions 1 and 2."""
