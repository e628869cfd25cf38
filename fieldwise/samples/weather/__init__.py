"""Weather of the whole sphere, one file a time: DeepCAM's samples."""
