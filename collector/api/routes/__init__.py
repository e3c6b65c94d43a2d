"""What can be asked: one file a group of addresses."""
