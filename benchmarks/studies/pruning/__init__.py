"""The studies of Edge Pruning (docs/studies/pruning.md): `__main__` says what is computed; then `descents`, `circuits`,
`page` and `plots`."""
