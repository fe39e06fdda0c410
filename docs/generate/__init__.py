"""What the pages hold that nobody writes by hand: options, words, signatures, pictures.

`hooks` is what MkDocs calls; `parts` makes text, `method_pictures` draws (from `slopes`, which measures), and
`screenshots` photographs the explorer.
"""
