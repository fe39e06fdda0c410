"""Which model, before torch is imported: names, files, sizes, and what the engine supports.

Read `catalog`, then `hub` (downloads), `locate` (the weights of a stored run), `shape`,
`supported`, `gguf_header`, `gguf_cache` and `reader` (prompts and the tokenizer).
"""
