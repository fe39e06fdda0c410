"""What somebody writes into a prompt of their own to name its spans: read `braces`."""
