"""Pictures that several stages draw."""
