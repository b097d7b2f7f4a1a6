"""Endpoints and their invocation."""
