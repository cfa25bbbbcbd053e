"""The use cases, one module each. They reach everything outside only through `ports`."""
