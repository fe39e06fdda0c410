"""Parts that several pages draw with: tables, charts, text, and the browser's memory.

Read any; none imports another.
"""
