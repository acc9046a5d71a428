"""What runs: settings, Spark sessions and the jobs. Jobs wire; they do not decide."""
