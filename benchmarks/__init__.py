"""How fast is the engine? One module per question; ``python -m benchmarks`` writes RESULTS.md."""
