"""The soak: long crash tests of whole pipelines, and the page they fill (`python -m tests.soak`)."""
