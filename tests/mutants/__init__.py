"""Mutation testing: modules are broken in one place each, and the tests must notice."""
