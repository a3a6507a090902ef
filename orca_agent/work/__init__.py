"""Runs work items: the engine's calls against real models, with a journal under it."""
