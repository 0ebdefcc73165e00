"""The wire between the hub and everyone else: one file for each resource."""
