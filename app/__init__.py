"""The explorer: it draws and listens, and computes nothing."""
