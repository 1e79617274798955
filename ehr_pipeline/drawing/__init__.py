"""Pictures that are used by several stages."""
