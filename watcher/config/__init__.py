"""The configuration: its sources, what each setting allows, and how problems are reported."""
