"""MLflow: the registry's server."""
