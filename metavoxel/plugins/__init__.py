"""How types are registered: hook specifications, the registry of installed types, the built-in ones."""
