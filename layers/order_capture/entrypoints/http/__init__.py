"""REST requests and responses, with the names of swagger.yaml."""
