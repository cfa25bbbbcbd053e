"""REST requests in, responses out, under the names of swagger.yaml."""
