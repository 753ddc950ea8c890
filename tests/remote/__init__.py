"""Whole backups on every kind of store, on real servers: what a transport's own tests cannot show."""
