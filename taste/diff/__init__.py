"""What differs between two data directories, experiments or runs."""
