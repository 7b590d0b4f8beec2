"""HTTP that is not specific to a resource: headers, query parameters, OpenAPI."""
