"""What is unusual: expectation model, flags, alerts, thresholds policy, back-test, model bundle."""
