"""The fault corpus: named bad files and bad moments, and what a user is to get from each."""
