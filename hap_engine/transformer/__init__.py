"""A transformer taken apart: its weights per head, and a plain pass that keeps what every part read and wrote.

Read `load` (`weights`, `convert_gguf`, `gguf_tokenizer`), then `blocks`, `attention`, `norms`, `mlps`, `batches` and
`plain_pass`.
"""
