"""Pictures of annotations, whatever the format: found, looked at, and compared with what the annotations say."""
