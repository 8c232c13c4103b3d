"""The model of apps, runs, configurations and crashes."""
