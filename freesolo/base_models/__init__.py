"""Base models on this machine, as folders in the layout of `transformers`."""
