"""Two circuits of a run as a picture: palette → layout → scene → wire (JSON) → ``web/``, which draws it.

Pure functions, without a model or a server. Read `scene` first; `groups` folds heads by role, `page` and
`standalone` make one HTML file of it all.
"""
