"""How fast is the engine? One module per question; ``python -m benchmarks`` writes RESULTS.md."""

from hap_engine.machine.threads import wait_briefly

wait_briefly()  # here, because the modules import torch first
