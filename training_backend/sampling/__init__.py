"""Samplers: who gives the model's answers while it is trained."""
