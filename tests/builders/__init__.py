"""What tests are built from: tiny models, planted circuits, fakes, and slow oracles. No tests here."""
