"""The tasks that come with the explorer, one file each, from templates and lists of words.

Read `making`, which all share, then `ioi` as the example. `choices` are those whose prompts are downloaded.
"""
