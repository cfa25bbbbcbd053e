"""The use cases, one module each. They see the outside only through `ports`."""
