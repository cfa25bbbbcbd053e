"""AWS and HTTP: everything that the use cases see only through `application.ports`."""
