"""Registration of types: hook specifications, the registry of installed types, and the built-in types."""
